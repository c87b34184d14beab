"""`attest token verify` and `attest token decode`: a token as its Relying Party sees it, and without any trust."""

import time
from pathlib import Path
from typing import Annotated

import jwt
import msgspec
import typer

from attest_pipeline import result
from attest_pipeline.cli import inputs, results
from attest_pipeline.cli.output import Output, OutputOption, complain, emit
from attest_pipeline.jws import MAX_TOKEN, BadToken
from attest_pipeline.result import AttestationResult

token = typer.Typer(add_completion=False, no_args_is_help=True, help="Read Attestation Results.")
Given = Annotated[str, typer.Argument(help="The token itself, a file that holds it, or - for standard input.")]


@token.command()
def verify(
    text: Given,
    *,
    jwks: Annotated[Path, typer.Option(help="The Verifier's public keys.")],
    audience: Annotated[str, typer.Option(help="Who you are.")],
    issuer: Annotated[str, typer.Option(help="Whose tokens you believe.")],
    nonce: Annotated[str | None, typer.Option(help="The challenge that it must answer, hexadecimal.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check a token as a Relying Party must; exit 0 only if it may be believed and is affirming."""
    keys = inputs.read_keys(jwks)
    wanted = inputs.from_hex(nonce, "--nonce")
    now = int(time.time())  # noqa: TID251 - the Relying Party's clock
    try:
        found = result.check(_token(text), keys, audience=audience, issuer=issuer, now=now, nonce=wanted)
    except BadToken as error:
        raise BadToken(f"this token must not be believed: {error}") from None
    results.conclude(found, "signature, issuer, audience and times hold", output)


@token.command()
def decode(text: Given, output: OutputOption = Output.TEXT) -> None:
    """Show what a token says WITHOUT checking anything: anyone could have written it."""
    payload = unverified(_token(text))
    complain("NOT VERIFIED: anyone could have written this token; use `attest token verify`")
    if output is Output.JSON:
        emit({"verified": False, "payload": payload})
        return
    try:
        results.show(msgspec.convert(payload, AttestationResult), "NOT VERIFIED", output)
    except msgspec.ValidationError as error:
        raise BadToken(f"no Attestation Result: {error}") from None


def unverified(encoded: bytes) -> dict[str, object]:
    """Payload of a token that nobody has checked. Raises BadToken."""
    if len(encoded) > MAX_TOKEN:
        raise BadToken(f"a token of {len(encoded)} bytes")
    try:
        return jwt.decode(encoded, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise BadToken(f"no JWT: {error}") from None


def _token(text: str) -> bytes:
    """The token: what looks like a JWS is one, everything else names a file."""
    looks_so = text.startswith("eyJ") and text.count(".") == 2  # noqa: PLR2004 - header.payload.signature
    return text.encode() if looks_so else inputs.read(Path(text)).strip()
