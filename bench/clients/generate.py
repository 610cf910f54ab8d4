"""Generate realistic GA4-like events. The same arguments give the same bytes.

Events belong to sessions of visitors in a shop. A visitor has a device and a place. Most events are
page views and scrolls, few are purchases. An event has about 750 bytes.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

VISITORS_MAX = 20_000
SESSION_EVENTS_MEAN = 8
SIGNED_IN_SHARE = 0.3
PAUSE_S_MEAN = 20
DAY_S = 86_400

# Names of events with their weights.
_EVENTS = {
    "page_view": 40,
    "scroll": 18,
    "user_engagement": 12,
    "view_item": 10,
    "click": 8,
    "view_item_list": 4,
    "add_to_cart": 3,
    "search": 3,
    "begin_checkout": 1.2,
    "purchase": 0.8,
}
_WITH_ITEMS = {"view_item", "view_item_list", "add_to_cart", "begin_checkout", "purchase"}
_PAGES = ["home", "shop", "new", "sale", "shoes", "jackets", "account", "cart", "help", "blog"]
_TERMS = ["running shoes", "rain jacket", "gift", "socks", "backpack", "tent"]
_BRANDS = ["Aurora", "Borealis", "Cirrus", "Delta", "Everest"]
_PLACES = [
    ("Europe", "Germany", "Berlin", "Berlin"),
    ("Europe", "France", "Île-de-France", "Paris"),
    ("Europe", "Sweden", "Stockholm", "Stockholm"),
    ("Americas", "United States", "California", "San Francisco"),
    ("Americas", "United States", "New York", "New York"),
    ("Americas", "Brazil", "São Paulo", "São Paulo"),
    ("Asia", "India", "Karnataka", "Bengaluru"),
    ("Asia", "Japan", "Tokyo", "Tokyo"),
]
_DEVICES = [
    ("web", "desktop", "", "", "Windows", "11", "Chrome", "129.0"),
    ("web", "desktop", "Apple", "Macintosh", "macOS", "14.6", "Safari", "17.6"),
    ("web", "mobile", "Samsung", "Galaxy S24", "Android", "14", "Chrome", "129.0"),
    ("mobile", "mobile", "Apple", "iPhone 15", "iOS", "17.6", "", ""),
    ("mobile", "mobile", "Google", "Pixel 8", "Android", "14", "", ""),
    ("mobile", "tablet", "Apple", "iPad", "iOS", "17.6", "", ""),
    ("desktop", "desktop", "", "", "Windows", "11", "", ""),
    ("tv", "smart tv", "LG", "webOS TV", "webOS", "24", "", ""),
    ("console", "console", "Sony", "PlayStation 5", "Orbis OS", "11.5", "", ""),
]
_DEVICE_WEIGHTS = [30, 15, 25, 10, 8, 5, 3, 3, 1]


@dataclass(slots=True)
class _Session:
    """A visitor's session.

    Attributes:
        left: number of events that are still to come.
        time_ms: time of the next event.
        previous_ms: time of the event before it.
        session_id: id of the session.
        rest: the fields that all events of the session share, as JSON without the opening brace.
    """

    left: int
    time_ms: int
    previous_ms: int
    session_id: int
    rest: str


def generate(
    count: int, *, seed: int, start: datetime, days: int, ids: bool = True
) -> Iterator[bytes]:
    """Yield `count` events as lines of NDJSON, without the line ends.

    The times of one session are in order. Events of several sessions are mixed.

    Args:
        count: number of events.
        seed: seed of the random contents.
        start: earliest time of the events.
        days: all times are within `days` days from `start`.
        ids: whether each event has its own id, as clients should send it. Without ids the service
            derives them.
    """
    rng = random.Random(seed)
    names = list(_EVENTS)
    weights = list(_EVENTS.values())
    sessions: list[_Session] = []
    start_ms = int(start.timestamp() * 1000)
    span_ms = days * DAY_S * 1000
    visitors = max(1, min(VISITORS_MAX, count // 20))
    for _ in range(count):
        if len(sessions) < 50:
            sessions.append(_session(rng, visitors, start_ms, span_ms))
        place = rng.randrange(len(sessions))
        session = sessions[place]
        session.left -= 1
        if session.left <= 0:
            sessions[place] = sessions[-1]
            sessions.pop()
        [name] = rng.choices(names, weights)
        event_id = f'"id":"{rng.getrandbits(128):032x}",' if ids else ""
        items = f',"items":{_items(rng)}' if name in _WITH_ITEMS else ""
        yield (
            f'{{{event_id}"name":"{name}","timestamp":{session.time_ms},'
            f'"previous_timestamp":{session.previous_ms},'
            f'"event_params":{_params(rng, name, session.session_id)}{items},{session.rest}'
        ).encode()
        session.previous_ms = session.time_ms
        pause_ms = int(rng.expovariate(1 / PAUSE_S_MEAN) * 1000) + 1
        session.time_ms = min(session.time_ms + pause_ms, start_ms + span_ms - 1)


def _session(rng: random.Random, visitors: int, start_ms: int, span_ms: int) -> _Session:
    time_ms = start_ms + rng.randrange(span_ms)
    visitor = rng.randrange(visitors)
    own = random.Random(visitor)  # a visitor is the same in every session
    [device] = own.choices(_DEVICES, _DEVICE_WEIGHTS)
    channel, category, brand, model, system, system_version, browser, browser_version = device
    continent, country, region, city = own.choice(_PLACES)
    is_app = channel != "web"
    rest: dict[str, Any] = {
        "channel_type": channel,
        "user_pseudo_id": f"{own.getrandbits(64)}.{visitor}",
        "user_params": [{"key": "plan", "string_value": own.choice(["free", "plus", "pro"])}],
        "device": _present(
            category=category,
            mobile_brand_name=brand,
            mobile_model_name=model,
            operating_system=system,
            operating_system_version=system_version,
            language=own.choice(["en-us", "de-de", "fr-fr", "sv-se", "pt-br", "ja-jp"]),
            browser_name=browser,
            browser_version=browser_version,
            hostname="" if is_app else "shop.example.com",
        ),
        "geo": _present(continent=continent, country=country, region=region, city=city),
    }
    if is_app:
        rest["app_info"] = {"id": "com.example.shop", "version": f"{own.randrange(3, 6)}.2"}
    if own.random() < SIGNED_IN_SHARE:
        rest["user_id"] = f"user-{visitor}"
    length = int(rng.expovariate(1 / SESSION_EVENTS_MEAN)) + 1
    return _Session(
        length, time_ms, time_ms, time_ms // 1000, orjson.dumps(rest).decode().removeprefix("{")
    )


def _present(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _params(rng: random.Random, name: str, session_id: int) -> str:
    page = rng.choice(_PAGES)
    params = [
        f'{{"key":"ga_session_id","number_value":{session_id}}}',
        f'{{"key":"engaged","boolean_value":{"true" if rng.random() < 0.6 else "false"}}}',
    ]
    if name == "scroll":
        params.append(f'{{"key":"scroll_depth","number_value":{rng.choice((25, 50, 75, 90))}}}')
    elif name == "search":
        params.append(f'{{"key":"search_term","string_value":"{rng.choice(_TERMS)}"}}')
    elif name == "purchase":
        params.append(f'{{"key":"transaction_id","string_value":"T{rng.randrange(10**8):08d}"}}')
    else:
        params.append(f'{{"key":"page_title","string_value":"{page.title()}"}}')
        params.append(f'{{"key":"page_location","string_value":"https://shop.example.com/{page}"}}')
    return "[" + ",".join(params) + "]"


def _items(rng: random.Random) -> str:
    items = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        number, price = rng.randrange(500), rng.randrange(500, 20_000) / 100
        quantity = rng.choice((1, 1, 1, 2, 3))
        items.append(
            f'{{"id":"SKU{number:04d}","name":"Product {number}",'
            f'"brand":"{_BRANDS[number % len(_BRANDS)]}","price_in_usd":{price},'
            f'"revenue_in_usd":{round(price * quantity, 2)},"quantity":{quantity}}}'
        )
    return "[" + ",".join(items) + "]"
