// A provider of identities on loopback, for tests. Its own pages for development log anyone in as whom they say they are.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [library, address, client, secret, accounts, inToken, redirect] = process.argv.slice(process.argv[1] === '--' ? 2 : 1);
const { Provider } = await import(pathToFileURL(library).href);
const [host, port] = address.split(':');

new Provider(`http://${address}`, {
  clients: [
    {
      client_id: client,
      client_secret: secret,
      // The redirects of a native client may be to any port of loopback, but without TLS only.
      application_type: redirect ? 'web' : 'native',
      redirect_uris: [redirect || `http://${host}/v1/oidc/corp/callback`],
      grant_types: ['authorization_code'],
      response_types: ['code'],
    },
  ],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: inToken !== 'true',
  pkce: { required: () => true },
  ttl: { IdToken: 3600 },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, ...JSON.parse(readFileSync(accounts, 'utf8'))[id] }),
  }),
}).listen(Number(port), host);
