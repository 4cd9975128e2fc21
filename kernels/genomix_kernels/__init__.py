"""Operations on tensors that know no model: long convolutions, short filters, their references and backends."""
