-- What each source says now: the latest version of every split and dividend.
with versions as (

    select * from {{ source('raw', 'corporate_actions') }}

),

latest as (

    select *
    from versions
    qualify row_number() over (
        partition by symbol, ts, kind, source
        order by ingested_at desc, batch_id desc
    ) = 1

)

select * from latest
