"""The credentials of one endpoint where they are more than one key that never changes: several in turn, with limits, rests and tokens.

A target whose endpoint has a single key has none of this: the key stands in its rendered heads. For all others:

1. The credential that was used longest ago goes first, of those that do not rest and that their own limits let through.
2. One that a provider refuses (401, 402) rests: a minute, twice as long each time after, at most ``LONGEST_REST_SECONDS``. 403 and 429 rest
   it for the model that was asked only; 429 for as long as the provider says. Its rest ends by time alone.
3. A credential that rests is not used, by this request or another. Where all rest, the target is not asked.
4. The only credential of an endpoint never rests: nobody could take its place. Its target's breaker keeps requests away.

Property tests hold 2 to 4 (``tests/proxy/test_credentials.py``). Times are the loop's, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from apps.contracts.credentials import AwsDefault, AwsKeys, Credential, EntraApp, GoogleAccount, Key, region_of
from apps.contracts.reports import MAX_CREDENTIALS
from apps.contracts.snapshot import LimitFragment
from apps.proxy.errors import AttemptFailed, LimitReached, Refusal, UpstreamAnswered
from apps.proxy.limits import WAIT
from apps.proxy.tokens import TokenKeeper, TokenState
from apps.proxy.verdict import Verdict, retry_after

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.exchange import Exchange
    from apps.proxy.limits import Window
    from apps.proxy.runtime import CompiledTarget, Runtime

REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 900.0
SHORT_REST_SECONDS = 5.0
"""After a 429 that does not say for how long, and where there was no token to send."""
TOKEN_WAIT_SECONDS = 5.0
"""How long a request waits for the first token there is."""
SPARED = Verdict("credential", False)
"""For a target's breaker: one of several credentials was refused, which says nothing of the target."""


class Lent(NamedTuple):
    """One credential as the compiler has it. name: empty where it is its endpoint's only one. line: the header of a key, with its line's
    end; empty where it has to be made."""

    id: str
    name: str
    credential: Credential
    line: bytes
    limits: tuple[LimitFragment, ...]


class Lending(NamedTuple):
    """The credentials of one endpoint. key: ``organisation/provider/endpoint``. host: as requests are sent to, with its port."""

    key: str
    members: tuple[Lent, ...]
    allow_private: bool
    scheme: str
    host: str


class Rest:
    """How often something was refused in a row, and until when it is left alone."""

    __slots__ = ("status", "times", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.times = 0
        self.status = 0

    def refused(self, status: int, now: float, seconds: float) -> None:
        self.times += 1
        self.status = status
        self.until = max(self.until, now + (seconds or min(REST_SECONDS * 2 ** min(self.times - 1, 10), LONGEST_REST_SECONDS)))


class Held:
    """One credential of one endpoint, as this process knows it. used: when it was used last, as a count."""

    __slots__ = ("lent", "pool", "rest", "rests", "token", "used")

    def __init__(self, lent: Lent, pool: CredentialPool, token: TokenState | None) -> None:
        self.lent = lent
        self.pool = pool
        self.token = token
        self.used = 0
        self.rest = Rest()
        self.rests: dict[str, Rest] = {}
        """By model."""

    def resting(self, model: str, now: float) -> bool:
        if now < self.rest.until:
            return True
        rest = self.rests.get(model)
        return rest is not None and now < rest.until

    def line(self, now: float) -> bytes:
        """The header that a request sends; empty where it must be made first, or cannot."""
        token = self.token
        if token is None:
            return self.lent.line
        return token.line if now < token.ends_at else b""

    def worked(self, model: str, time: Callable[[], float]) -> None:
        """A provider took it. What was sent before a refusal and answered after it ends no rest."""
        if self.rest.times and time() >= self.rest.until:
            self.rest = Rest()
        if self.rests and (rest := self.rests.get(model)) is not None and time() >= rest.until:
            del self.rests[model]

    async def made(self, engine: Engine, head: bytes, body: bytes, seconds: float) -> bytes:
        """The header lines of one request where they are not there beforehand. Raises UpstreamAnswered (401) where there are none."""
        credential = self.lent.credential
        if isinstance(credential, (AwsKeys, AwsDefault)):
            method, path, _ = head.split(b" ", 2)
            url = f"{self.pool.lending.scheme}://{self.pool.lending.host}{path.decode('ascii')}"
            signed = await engine.loop.run_in_executor(None, engine.credentials.sign, credential, method.decode(), url, body)
            if isinstance(signed, bytes):
                return signed
            raise _nothing(signed)
        token = self.token
        assert token is not None
        if not token.line and not token.problem:
            await engine.loop.create_task(token.first(max(0.001, min(seconds, TOKEN_WAIT_SECONDS))))
        line = self.line(engine.loop.time())
        if line:
            return line
        raise _nothing(token.problem or "no access token has come yet")

    def told(self, now: float, wall_ms: int) -> dict[str, Any] | None:
        """What people should know of it; None: nothing."""
        found: dict[str, Any] = {"key": self.pool.lending.key, "name": self.lent.name or self.lent.id}
        token, until = self.token, self.rest.until
        resting = [model for model, rest in self.rests.items() if now < rest.until]
        if token is not None and not token.good(now):
            return {**found, "state": "no_token" if token.problem else "waiting", "text": token.problem[:300]}
        if now < until:
            return {**found, "state": "resting", "until_ms": _moment(until - now, wall_ms), "text": f"refused with {self.rest.status}"}
        if token is not None and token.problem:
            return {**found, "state": "old_token", "until_ms": _moment(token.ends_at - now, wall_ms), "text": token.problem[:300]}
        if resting:
            rest = max((self.rests[model] for model in resting), key=lambda rest: rest.until)
            text = f"refused with {rest.status} for {', '.join(sorted(resting)[:3])}{' and more' if len(resting) > 3 else ''}"
            return {**found, "state": "resting_model", "until_ms": _moment(rest.until - now, wall_ms), "text": text}
        if token is not None:
            return {**found, "state": "token", "until_ms": _moment(token.ends_at - now, wall_ms)}
        return None


def _moment(seconds: float, wall_ms: int) -> int:
    """Milliseconds since the epoch, to five seconds: what stays as it is needs no new heartbeat."""
    return (wall_ms + int(seconds * 1000)) // 5_000 * 5_000


def _nothing(why: str) -> UpstreamAnswered:
    """Nothing was sent, and to the request it is as if its credential were refused."""
    return UpstreamAnswered(401, {}, why.encode())


class CredentialPool:
    """The credentials of one endpoint in this process; it outlives config versions."""

    def __init__(self, lending: Lending, tokens: TokenKeeper) -> None:
        self.lending = lending
        self.held: list[Held] = []
        self._used = 0
        self.change(lending, tokens)

    def change(self, lending: Lending, tokens: TokenKeeper) -> None:
        """As a new config has it. What is known of a credential stays known while its value is the same."""
        known = {(held.lent.id, held.lent.credential): held for held in self.held}
        self.lending, self.held = lending, []
        for lent in lending.members:
            token = None
            if isinstance(lent.credential, (GoogleAccount, EntraApp)):
                token = tokens.state_of(lent.id, lent.credential, allow_private=lending.allow_private)
            held = known.get((lent.id, lent.credential)) or Held(lent, self, token)
            held.lent, held.token = lent, token
            self.held.append(held)

    def ready(self, model: str, now: float) -> list[Held]:
        """Those that may be used now, the one that was used longest ago first."""
        held = self.held
        if len(held) == 1:
            return held
        return sorted((each for each in held if not each.resting(model, now)), key=_used)

    def another(self, model: str, now: float) -> bool:
        """Whether there is one that may be used now, of several."""
        return len(self.held) > 1 and any(not held.resting(model, now) for held in self.held)

    def use(self, held: Held) -> Held:
        self._used += 1
        held.used = self._used
        return held

    def take(self, exchange: Exchange, engine: Engine, model: str) -> Held | tuple[Window, ...]:
        """One to use now, with a permit of each of its limits; or the limits for which permits have to be waited for.
        Raises LimitReached where there is nothing to wait for."""
        ready = self.ready(model, engine.loop.time())
        if not ready:
            raise LimitReached(self._all_rest())
        table = exchange.runtime.limits
        waiting: tuple[Window, ...] | None = None
        refusal: Refusal | None = None
        for held in ready:
            if not held.lent.limits or table is None:
                return self.use(held)
            windows = engine.limits.windows_of(held.lent.limits, table.version)
            why = engine.limits.admit_credential(exchange, windows)
            if why is None:
                return self.use(held)
            if why is WAIT:
                waiting = waiting or windows
            else:
                refusal = refusal or why
        if waiting is not None:
            return waiting
        assert refusal is not None
        raise LimitReached(refusal)

    def waited(self, windows: tuple[Window, ...]) -> Held:
        """The credential whose permits came after a wait."""
        for held in self.held:
            if held.lent.limits and held.lent.limits[0].id == windows[0].id:
                return self.use(held)
        return self.use(self.held[0])

    def heard(self, held: Held, line: bytes, model: str, error: AttemptFailed, ruling: Verdict, now: float) -> Verdict:
        """What a failure means for the credential that was used, and what is left of it for the target."""
        if not isinstance(error, UpstreamAnswered) or ruling.course not in ("credential", "pause"):
            return ruling
        if held.token is not None and error.status == 401 and line:
            held.token.refused(line, now)
        if len(self.held) == 1:
            return ruling
        if not line:  # nothing was sent: there was no token, which may come any moment
            held.rest.refused(error.status, now, SHORT_REST_SECONDS)
        elif error.status == 429:
            held.rests.setdefault(model, Rest()).refused(429, now, retry_after(error.headers) or SHORT_REST_SECONDS)
        elif error.status == 403:
            held.rests.setdefault(model, Rest()).refused(403, now, 0.0)
        else:
            held.rest.refused(error.status, now, 0.0)
        return SPARED if self.another(model, now) else ruling

    def _all_rest(self) -> Refusal:
        message = (
            f"Every credential of {self.lending.key.partition('/')[2]} was refused and is left alone for a while. "
            "Their owner has been told; nothing is wrong with your key."
        )
        return Refusal("upstream_credentials_exhausted", "dispatch", message)


def _used(held: Held) -> int:
    return held.used


class Credentials:
    """All endpoints' pools of this process. aws_default: its operator lets credentials use AWS's default chain."""

    def __init__(self, now: Callable[[], float], tokens: TokenKeeper, *, aws_default: bool = False) -> None:
        self.tokens = tokens
        self._now = now
        self._aws_default = aws_default
        self._chain: Any = None
        self._signs = False
        self._pools: dict[str, CredentialPool] = {}

    def attach(self, runtime: Runtime) -> None:
        """Gives every target of a new config the pool of its endpoint. Called before the config is swapped in."""
        lendings: dict[str, Lending] = {}
        targets: list[CompiledTarget] = []
        for table in runtime.tables.values():
            for route in table.values():
                for target in route.every_target:
                    if target.lending is not None:
                        lendings[target.lending.key] = target.lending
                        targets.append(target)
        for key in self._pools.keys() - lendings.keys():
            del self._pools[key]
        for key, lending in lendings.items():
            pool = self._pools.get(key)
            if pool is None:
                self._pools[key] = CredentialPool(lending, self.tokens)
            elif pool.lending != lending:
                pool.change(lending, self.tokens)
        accounts = [lent.credential for lending in lendings.values() for lent in lending.members]
        if not self._signs and any(isinstance(account, (AwsKeys, AwsDefault)) for account in accounts):
            self._signs = True  # its library takes a third of a second to load: not in front of a request
            Thread(target=_signer, name="bulkhead-signer", daemon=True).start()
        for target in targets:
            assert target.lending is not None
            target.credentials = self._pools[target.lending.key]
        self.tokens.keep(
            {
                (lent.id, lending.allow_private)
                for lending in lendings.values()
                for lent in lending.members
                if isinstance(lent.credential, (GoogleAccount, EntraApp))
            }
        )

    def sign(self, account: AwsKeys | AwsDefault, method: str, url: str, body: bytes) -> bytes | str:
        """The header lines of a signature; a text says why there are none. It hashes the whole body, and the default chain may ask
        AWS: it is for a thread."""
        sign_bedrock = _signer()
        host = url.split("/", 3)[2].rpartition(":")[0] or url.split("/", 3)[2]
        region = region_of(host, account)
        if isinstance(account, AwsDefault):
            if not self._aws_default:
                return (
                    "the credential is AWS's default chain, which this proxy's operator has not allowed: set BULKHEAD_AWS_DEFAULT_CHAIN=on"
                )
            found = self._default_chain()
            if isinstance(found, str):
                return found
            account = found
        token = account.session_token or None
        headers = sign_bedrock(method, url, body, account.access_key, account.secret_key, token, region)
        return b"".join([f"{name}: {value}\r\n".encode("ascii") for name, value in headers.items()])

    def _default_chain(self) -> AwsKeys | str:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._chain is None:
                self._chain = Session().get_credentials()
            if self._chain is None:
                return "AWS's default chain finds no credentials on this proxy's host: give it a role, a profile or variables"
            frozen = self._chain.get_frozen_credentials()
        except BotoCoreError as error:
            return f"AWS's default chain failed: {error}"
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token or "")

    def told(self, wall_ms: int) -> list[dict[str, Any]]:
        """What heartbeats say of credentials, troubles first; at most ``MAX_CREDENTIALS``."""
        now = self._now()
        rows = [row for pool in self._pools.values() for held in pool.held if (row := held.told(now, wall_ms)) is not None]
        rows.sort(key=lambda row: (_SEVERITY.get(row["state"], 9), row["key"], row["name"]))
        return rows[:MAX_CREDENTIALS]


def _signer() -> Callable[..., dict[str, str]]:
    from apps.contracts.aws_signing import sign_bedrock  # fourteen megabytes that a proxy without such a credential need not hold

    return sign_bedrock


_SEVERITY: Mapping[str, int] = {"no_token": 0, "resting": 1, "old_token": 2, "waiting": 3, "resting_model": 4, "token": 5}


def credential_line(header: bytes, credential: Credential) -> bytes:
    """The header of a key, with its line's end; empty for accounts. header: of the dialect, with ``%b``."""
    return header % credential.text.encode("ascii") + b"\r\n" if isinstance(credential, Key) else b""
