// nextflow run main.nf --vcf in.vcf.gz --fasta ref.fa --model MODEL --shards 8
params.shards = 8
params.outdir = 'scored'

process SCORE {
    input:
    tuple val(number), path(vcf), path(fasta), path(model)

    output:
    path "part.${number}.vcf.gz"

    script:
    """
    genomix score ${vcf} -f ${fasta} -m ${model} --shard ${number}/${params.shards} \\
        --threads ${task.cpus} -o part.${number}.vcf.gz
    """
}

process MERGE {
    publishDir params.outdir

    input:
    path parts

    output:
    path 'scored.vcf.gz*'

    script:
    """
    genomix merge ${parts} -o scored.vcf.gz -W
    """
}

workflow {
    numbers = Channel.of(1..(params.shards as int))
    inputs = numbers.map { n -> tuple(n, file(params.vcf), file(params.fasta), file(params.model)) }
    SCORE(inputs).collect() | MERGE
}
