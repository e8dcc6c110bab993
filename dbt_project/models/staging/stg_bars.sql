-- What each source says now: the latest version of every bar.
with versions as (

    select * from {{ source('raw', 'bars') }}

),

latest as (

    select *
    from versions
    qualify row_number() over (
        partition by symbol, interval, ts, source
        order by ingested_at desc, batch_id desc
    ) = 1

)

select * from latest
