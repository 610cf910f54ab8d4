"""The users of a ClickHouse server, for its `users.xml`. A change requires a restart."""

from xml.sax.saxutils import escape

from bench.harness.clickhouse import PASSWORD

SPECIAL_PASSWORD = "p@ss:w/rd?#%25 &é+"

_PROFILES = """<profiles>
  <default/>
  <readonly><readonly>1</readonly></readonly>
  <small><max_memory_usage>20000000</max_memory_usage></small>
  <constrained>
    <constraints><max_execution_time><max>15</max></max_execution_time></constraints>
  </constrained>
</profiles>"""
_QUOTAS = """<quotas>
  <default/>
  <tiny><interval><duration>3600</duration><queries>20</queries></interval></tiny>
</quotas>"""


def user(
    name: str,
    password: str = PASSWORD,
    *,
    grants: tuple[str, ...] = (),
    profile: str = "default",
    quota: str = "default",
    address: str = "127.0.0.1",
) -> str:
    """Return the XML of one user.

    Args:
        name: name of the user.
        password: password of the user.
        grants: statements such as `GRANT SELECT ON one.*`. Without any the user has all rights.
        profile: default, readonly, small (20 MB of memory) or constrained (15 s at most).
        quota: default or tiny (20 queries an hour).
        address: the only address from which the user may connect.
    """
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    return (
        f"<{name}><password>{escape(password)}</password>"
        f"<networks><ip>{address}</ip></networks><profile>{profile}</profile><quota>{quota}</quota>"
        + (f"<grants>{queries}</grants>" if queries else "")
        + f"</{name}>"
    )


def users_xml(*users: str) -> str:
    """Return a whole `users.xml`. It has the user `default`, without which no server starts."""
    everyone = "".join([user("default", ""), *users])
    return f"<clickhouse>{_PROFILES}{_QUOTAS}<users>{everyone}</users></clickhouse>"


DEFAULT_USERS = users_xml(
    user("app"),
    user("special", SPECIAL_PASSWORD),
    user("viewer", profile="readonly"),
    user("inserter", grants=("GRANT SELECT, INSERT ON one.*",)),
    user("small", profile="small"),
    user("constrained", profile="constrained"),
    user("limited", quota="tiny"),
    user("elsewhere", address="10.1.2.3"),
)
"""`app` has all rights. `inserter` may only read and insert in the database `one`.

All users except `special` have the password PASSWORD.
"""
