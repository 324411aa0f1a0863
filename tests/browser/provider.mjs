// A sign-in provider (OpenID Connect) of a test's own: it knows one client and signs in whoever
// comes. `tests/it/oidc.rs` has one that does things wrong.
import {createHash, generateKeyPairSync, sign} from "node:crypto";
import {once} from "node:events";
import {createServer} from "node:http";

const CLIENT = "tidegate";
const SECRET = "a secret of both";

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/// Starts one that calls its only user by this e-mail address.
export async function startProvider(email) {
  const {publicKey, privateKey} = generateKeyPairSync("ec", {namedCurve: "P-256"});
  const codes = new Map();
  let issuer;

  function authorize(query) {
    const code = `code-${codes.size}`;
    codes.set(code, {
      nonce: query.get("nonce"), challenge: query.get("code_challenge"), redirect: query.get("redirect_uri"),
    });
    const back = new URL(query.get("redirect_uri"));
    back.search = new URLSearchParams({code, state: query.get("state")});
    return back.href;
  }

  function exchange(authorization, body) {
    const given = codes.get(body.get("code"));
    codes.delete(body.get("code"));
    const proof = createHash("sha256").update(body.get("code_verifier") ?? "").digest("base64url");
    const known = `Basic ${Buffer.from(`${CLIENT}:${SECRET.replaceAll(" ", "+")}`).toString("base64")}`;
    if (authorization !== known || proof !== given?.challenge || body.get("redirect_uri") !== given.redirect) return null;
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer, aud: CLIENT, sub: "248289761001", nonce: given.nonce, exp: now + 300, iat: now, auth_time: now,
      name: "Ada L.", email, email_verified: true,
    };
    const text = `${encoded({alg: "ES256", kid: "1"})}.${encoded(claims)}`;
    const signature = sign("sha256", Buffer.from(text), {key: privateKey, dsaEncoding: "ieee-p1363"});
    return {access_token: "x", token_type: "Bearer", id_token: `${text}.${signature.toString("base64url")}`};
  }

  const server = createServer(async (request, reply) => {
    const {pathname, searchParams} = new URL(request.url, issuer);
    const say = (document, status = 200) => {
      reply.writeHead(status, {"content-type": "application/json"}).end(JSON.stringify(document));
    };
    let body = "";
    for await (const piece of request) body += piece;
    if (pathname === "/.well-known/openid-configuration") {
      say({
        issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/keys`,
      });
    } else if (pathname === "/keys") {
      say({keys: [{...publicKey.export({format: "jwk"}), use: "sig", alg: "ES256", kid: "1"}]});
    } else if (pathname === "/authorize") {
      reply.writeHead(302, {location: authorize(searchParams)}).end();
    } else if (pathname === "/token") {
      const tokens = exchange(request.headers.authorization, new URLSearchParams(body));
      say(tokens ?? {error: "invalid_grant"}, tokens ? 200 : 400);
    } else {
      say({}, 404);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  issuer = `http://127.0.0.1:${server.address().port}`;
  const settings = {
    TIDEGATE_OIDC__ISSUER: issuer, TIDEGATE_OIDC__CLIENT_ID: CLIENT, TIDEGATE_OIDC__CLIENT_SECRET: SECRET,
    TIDEGATE_OIDC__NAME: "Example", TIDEGATE_OIDC__CREATE_USERS: "true",
  };
  const stop = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };
  return {settings, stop};
}
