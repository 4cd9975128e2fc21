"""VCF, VCF.gz and BCF in and out; columns that are not annotated come back as they came."""

from genomix_data.vcf.header import VcfHeader, repair_header
from genomix_data.vcf.opening import open_vcf
from genomix_data.vcf.reader import VcfReader
from genomix_data.vcf.record import InfoValues, VcfRecord
from genomix_data.vcf.writer import OutputType, VcfWriter, output_type_of

__all__ = [
    "InfoValues",
    "OutputType",
    "VcfHeader",
    "VcfReader",
    "VcfRecord",
    "VcfWriter",
    "open_vcf",
    "output_type_of",
    "repair_header",
]
