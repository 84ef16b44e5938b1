// A provider of identities on loopback, for tests. Its own pages for development log anyone in as whom they say they are.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [library, address, client, secret, accounts, inToken] = process.argv.slice(process.argv[1] === '--' ? 2 : 1);
const { Provider } = await import(pathToFileURL(library).href);
const [host, port] = address.split(':');

new Provider(`http://${address}`, {
  clients: [
    {
      client_id: client,
      client_secret: secret,
      application_type: 'native', // its redirects may be to any port of loopback
      redirect_uris: [`http://${host}/v1/oidc/corp/callback`],
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
