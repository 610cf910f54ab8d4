"""A proxy in front of a real server. Inserts through it fail in the way that a test chooses."""

import re

from tests.clickhouse.relay import Exchange, Relay

FAULTS = {
    "hang": "never responds",
    "reset": "resets the connection",
    "cut": "closes the connection in the middle of the headers",
    "truncate": "sends half of the request to the server, and closes both connections",
    "delay": "forwards the request after `delay_s`",
    "lost-reply": "lets the server insert, and then closes the connection",
    "html-200": "responds with the page of a proxy and status 200",
    "error-200": "responds with an error and status 200",
}
"""What the proxy does with an insert, by the name of the fault."""
_CODE = re.compile(r"\d{1,4}")
_STATUS = re.compile(r"http-(\d{3})")
_INSERT = re.compile(rb"\s*INSERT INTO (\S+\.)?[`\"]?events(_local)?[`\"]?\s", re.IGNORECASE)


class FaultProxy(Relay):
    """Makes inserts into `events` fail. All other requests are forwarded.

    Attributes:
        delay_s: delay of the fault `delay`, in seconds.
    """

    delay_s = 1.0
    _fault = ""

    @property
    def fault(self) -> str:
        """The fault of all inserts from now on.

        It is one of FAULTS, an HTTP status such as `http-502`, or an error code of ClickHouse. An
        empty string means no fault.
        """
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        is_valid = fault in FAULTS or _CODE.fullmatch(fault) or _STATUS.fullmatch(fault)
        assert is_valid or not fault, f"there is no fault named {fault}"
        self._fault = fault

    def handle(self, exchange: Exchange) -> None:
        """Make an insert fail, or forward the request."""
        fault = self._fault
        if fault and _INSERT.match(exchange.asked.statement):
            self._fail(exchange, fault)
        else:
            super().handle(exchange)

    def _fail(self, exchange: Exchange, fault: str) -> None:
        match fault:
            case "delay":
                self.closed.wait(self.delay_s)
                super().handle(exchange)
            case "html-200":
                exchange.reply(200, b"<html>It works!</html>")
            case "error-200":
                exchange.reply(200, b"Code: 241. DB::Exception: Memory limit exceeded")
            case _ if status := _STATUS.fullmatch(fault):
                exchange.reply(int(status[1]), b"<html>proxy</html>")
            case _ if _CODE.fullmatch(fault):
                text = f"Code: {fault}. DB::Exception: as told. (FAULT)".encode()
                exchange.reply(500, text, X_ClickHouse_Exception_Code=fault)
            case _:
                self._end(exchange, fault)

    def _end(self, exchange: Exchange, fault: str) -> None:
        match fault:
            case "hang":
                self.closed.wait()
            case "cut":
                exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {")
            case "truncate":
                with self.send(exchange.asked, bytes_max=len(exchange.asked.body) // 2):
                    pass
            case "lost-reply":
                with self.ask(exchange.asked) as response:
                    response.read()
        exchange.end(reset=fault == "reset")
