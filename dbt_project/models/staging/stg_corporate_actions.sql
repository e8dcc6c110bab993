-- What each source says now: the latest version of every split and dividend.
select * from {{ known_at(source('raw', 'corporate_actions'), ['symbol', 'kind', 'ts', 'source']) }}
