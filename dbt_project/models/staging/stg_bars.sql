-- What each source says now: the latest version of every bar.
select * from {{ known_at(source('raw', 'bars'), ['symbol', 'interval', 'ts', 'source']) }}
