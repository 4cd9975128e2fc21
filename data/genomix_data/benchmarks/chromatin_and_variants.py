"""Sets that are no plain classification of sequences: chromatin profiles, MPRA, BRCA1 and ClinVar variants."""

from genomix_data.benchmarks.registry import BenchmarkSet

ROWS = (
    BenchmarkSet(
        name="deepsea/chromatin_profiles",
        kind="multi-label",
        what="919 chromatin features (690 TF, 125 DNase, 104 histone) of the 200 bp in the middle of 1,000 bp",
        n_targets=919,
        n_sequences={"train": 4_400_000, "valid": 8_000, "test": 455_024},
        length=(1000, 1000),
        metric="median AUROC of TF, DNase and histone targets",
        assembly="hg19",
        source="deepsea.princeton.edu, bundle deepsea_train v0.9",
        licence="see the source; not stated in the copy that was read",
        citation="Zhou and Troyanskaya 2015, Predicting effects of noncoding variants with deep learning-based "
        "sequence model, Nature Methods 12:931",
        obtain="the training bundle of the source (.mat), written as tables train, valid and test with the columns "
        "chrom, start, end (or sequence) and one column of 0 and 1 for each feature; CSV, TSV or Parquet",
        note="counts include both strands; the test set is chr8 and chr9",
    ),
    BenchmarkSet(
        name="mpra/saturation_mutagenesis",
        kind="regression",
        what="effect of each substitution in twenty disease-linked promoters and enhancers on reporter expression",
        metric="Pearson correlation by element",
        assembly="GRCh37 and GRCh38",
        source="Kircher et al. 2019, data at mpra.gs.washington.edu/satMutMPRA",
        licence="see the source",
        citation="Kircher et al. 2019, Saturation mutagenesis of twenty disease-associated regulatory elements at "
        "single base-pair resolution, Nature Communications 10:3583",
        obtain="the tables of the source, written as one table with a column sequence (or chrom, start, end) and one "
        "or more columns of numbers",
    ),
    BenchmarkSet(
        name="variants/brca1_sge",
        kind="variants",
        what="function of 3,893 BRCA1 single-nucleotide variants by saturation genome editing",
        classes=("FUNC", "INT", "LOF"),
        n_sequences={"all": 3893},
        n_per_class={"all": {"FUNC": 2821, "INT": 249, "LOF": 823}},
        metric="AUROC of LOF against FUNC and INT",
        assembly="hg19",
        source="Findlay et al. 2018, supplementary table 1 (41586_2018_461_MOESM3_ESM.xlsx)",
        licence="the authors' data; cite",
        citation="Findlay et al. 2018, Accurate classification of BRCA1 variants with saturation genome editing, "
        "Nature 562:217",
        obtain="the supplementary table, as a table chrom, pos, ref, alt, func.class, function.score.mean, or a VCF "
        "with INFO/CLASS and INFO/FS; genomix ships it as the sample brca1_sge.vcf.gz",
    ),
    BenchmarkSet(
        name="variants/clinvar",
        kind="variants",
        what="benign or pathogenic, by the submissions to ClinVar",
        classes=("benign", "pathogenic"),
        metric="AUROC",
        assembly="GRCh37 or GRCh38, as the VCF says",
        source="ftp.ncbi.nlm.nih.gov/pub/clinvar (vcf_GRCh38/clinvar.vcf.gz)",
        licence="public domain",
        citation="Landrum et al. 2018, ClinVar: improving access to variant interpretations and supporting evidence, "
        "NAR 46:D1062",
        obtain="clinvar.vcf.gz of a dated release from the source, or a part of it; CLNSIG and CLNREVSTAT are read",
        note="changes every week: say which release; many labels come from predictors",
    ),
)
