package console

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/test/need"
)

// TestProvided logs people in by a real provider of identities, which is another site, on a controller with TLS and the
// certificate that it makes: web/test/provided.mjs has what is done and asserted.
func TestProvided(t *testing.T) {
	console(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	accounts := file("accounts.json", `{"ann": {"email_verified": true, "groups": ["dr-admins"]}, "eve": {"email_verified": true, "groups": ["sales"]}}`)
	address := free(t)
	_, port, _ := net.SplitHostPort(address) // from a listener
	url := "https://localhost:" + port
	provider := need.OIDC(t, accounts, false, url+"/v1/oidc/corp/callback")
	providers := file("oidc.yaml", fmt.Sprintf(`providers:
  - name: corp
    issuer: http://%s
    client-id: %s
    client-secret: file:%s
    grants:
      dr-admins: ["admin@*"]
`, provider.Address, provider.User, file("secret", provider.Secret)))
	c := serve(t, dir, "--listen", address, "--tls", "on", "--oidc", providers)
	if !strings.HasPrefix(c.url, "https://") {
		t.Fatal(c.url)
	}
	c.run(t, "user", "add", "first", "--role", "admin")
	c.url = url
	c.browse(t, "provided.mjs")
}

// free is an address on loopback that nobody listens at. The controller's has to be known before the controller begins:
// the provider sends browsers there.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
