"""Sources of bars, one file a provider, found by name."""

from lake.sources.arch import ArchSource
from lake.sources.base import Source
from lake.sources.bokeh import BokehSource
from lake.sources.skfolio import SkfolioSource

EMBEDDED: dict[str, Source] = {source.name: source for source in (SkfolioSource(), BokehSource(), ArchSource())}
