{#
  One SQL text for the full build and for the increment.

  A model is told in a relation which series (symbol, interval) it has to build, from when:
      first_ts   first row that may change: the model gives the rows `ts >= first_ts` of these series, all of them
      read_from  first row to read, `lookback` rows before that; the beginning of time where the series is read whole
      state_ts   row of this model just before first_ts, whose columns restart the recursions; null where there is none
                 or where it is not `warm`, and then read_from is the beginning of time
  A full build is the same with every series, first_ts the beginning of time and state_ts null. So is whatever is not a
  build: unit tests, `--empty`, `--vars as_of`, `dbt compile`, `dbt show` and the docs.

  Macros
      scope(relation)                   that relation: symbol, interval, first_ts, read_from, state_ts;
                                        `relation` has the series of a full build
      scoped(relation)                  rows of a relation with symbol, interval and ts: `ts >= first_ts`
      scoped(relation, lookback=true)   `ts >= read_from`, and the column `is_lookback`: `ts < first_ts`
      lookback_of(relation)             symbol, interval and `lookback`: how many of the rows of that are there to look back
      stored_state(['ema_12', ...])     symbol, interval and these columns of this model's own row at state_ts;
                                        no row where it is null, so join it with `left join`

  Config
      changed_by  upstream (`market/bars`) to SQL over `changes`, its rows that came or went since this model was built
                  (its own columns), which gives `symbol, interval, ts`: from ts on this series may change. Null symbol:
                  every series; null interval: every interval. An upstream that is left out changes nothing. The first
                  one has the series of this model.
      lookback    rows before first_ts that the windows of the model need; default 0
      warm        condition on this model's row at state_ts under which the lookback and that row are enough; where it
                  is not met, the series is read, built and compared whole: its first_ts is the beginning of time, too.
                  Default: always.
  across_symbols  true where a row follows from rows of other symbols at its ts, as a rank does: all series are built
                  from the first change on, all symbols together; no lookback and no state
  sparse          true where a bar need not have a row, as in a table of findings: the lookback is counted in the first
                  upstream of changed_by

  The SQL of changed_by may also read every lake table as it is now, `stored`, this model's rows so far, and the variable
  `first_change`, the earliest `ts` of `changes`: only files with rows since then are opened where it bounds `ts`.
  What is built, how it is compared with what is stored, and what is written: lake/increments.py.
#}

{# Whether the relations of the scope are there. #}
{% macro is_scoped() -%}
    {{ return(
        model.resource_type == "model"
        and model.config.materialized == "delta"
        and flags.WHICH in ("run", "build", "retry")
        and not flags.EMPTY
    ) }}
{%- endmacro %}

{% macro scope(relation) -%}
    {%- if is_scoped() -%}
        _scope
    {%- else -%}
(
    select distinct
        symbol,
        interval,
        {{ beginning_of_time() }} as first_ts,
        {{ beginning_of_time() }} as read_from,
        {{ dbt.cast('null', 'timestamp with time zone') }} as state_ts
    from {{ relation }}
)
    {%- endif -%}
{%- endmacro %}

{# A comment gives way to bounds with literals, which tell the engine what files need not be opened. #}
{% macro scoped(relation, lookback=false) -%}
    {%- set since = "read_from" if lookback else "first_ts" -%}
(
    {%- if is_scoped() %}
    select
        upstream.*
        {%- if lookback %},
        upstream.ts < _scope.first_ts as is_lookback
        {%- endif %}
    from {{ relation }} as upstream
    inner join _scope on upstream.symbol = _scope.symbol and upstream.interval = _scope.interval
    where upstream.ts >= _scope.{{ since }} and /*{{ since }}*/ true
    {%- else %}
    select
        *
        {%- if lookback %},
        false as is_lookback
        {%- endif %}
    from {{ relation }}
    {%- endif %}
)
{%- endmacro %}

{# How many rows of each series in a relation come before the first to build. #}
{% macro lookback_of(relation) -%}
    select
        symbol,
        interval,
        cast(count(*) filter (where is_lookback) as integer) as lookback
    from {{ relation }}
    group by symbol, interval
{%- endmacro %}

{% macro stored_state(columns) -%}
(
    {%- if is_scoped() %}
    select symbol, interval, {{ columns | join(", ") }}
    from _stored_state
    {%- else %}
    select
        '' as symbol,
        '' as interval
        {%- for column in columns %},
        {{ dbt.cast("null", model.get("columns", {}).get(column, {}).get("data_type") or "double") }} as {{ column }}
        {%- endfor %}
    where false
    {%- endif %}
)
{%- endmacro %}

{# A model's SQL as it can be run, or looked at, without the relations of the scope. #}
{% macro with_empty_scope(sql) -%}
    with _scope as (
        select
            '' as symbol,
            '' as interval,
            {{ beginning_of_time() }} as first_ts,
            {{ beginning_of_time() }} as read_from,
            {{ beginning_of_time() }} as state_ts
    ),

    _stored_state as (
        select
            {%- for name, column in model.columns.items() %}
            {{ dbt.cast('null', column.data_type) }} as {{ name }}{{ "," if not loop.last }}
            {%- endfor %}
    )

    select * from ({{ sql }})
{%- endmacro %}

{% macro beginning_of_time() -%}
    {{ dbt.cast("'0001-01-01 00:00:00+00'", "timestamp with time zone") }}
{%- endmacro %}
