package oidc

import (
	"strings"
	"testing"

	"understudy/internal/access"
	"understudy/internal/dr"
)

const good = `url: https://dr.example.com/
providers:
  - name: corp
    issuer: https://login.example.com
    client-id: understudy
    client-secret: file:/etc/understudy/oidc-secret
    grants:
      dr-admins: ["admin@*"]
      shop team: ["operator@group:shop", "viewer@site:east"]
`

func TestParse(t *testing.T) {
	c, err := Parse("oidc.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Providers[0]
	if c.URL != "https://dr.example.com" || p.UserClaim != "preferred_username" || p.GroupsClaim != "groups" || len(p.Scopes) != 3 {
		t.Errorf("%+v", c)
	}
	if g := p.granted([]string{"shop team", "staff", "dr-admins", "shop team"}); len(g) != 3 || !g.May(access.Audit, access.Object{}) {
		t.Errorf("%v", g)
	}
	if g := p.granted([]string{"staff"}); len(g) != 0 {
		t.Errorf("%v", g)
	}
}

func TestParseSaysWhere(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key", "client-id:", "client-idd:", `oidc.yaml:5:5: unknown field "client-idd"`},
		{"twice", "    issuer:", "    name: x\n    issuer:", "oidc.yaml:4:5: "},
		{"no TLS", "https://login", "http://login", "oidc.yaml:4:13: providers[0].issuer: "},
		{"console without TLS", "https://dr", "http://dr", "oidc.yaml:1:6: url: "},
		{"secret itself", "file:/etc/understudy/oidc-secret", "hunter2", "oidc.yaml:6:20: providers[0].client-secret: it is no reference"},
		{"role", "admin@*", "king@*", `oidc.yaml:8:19: providers[0].grants.'dr-admins'[0]: "king" is no role`},
		{"scope", "viewer@site:east", "viewer@town:east", `oidc.yaml:9:42: providers[0].grants.'shop team'[1]: "town:east" is no scope`},
		{"name", "corp", "Corp/x", "oidc.yaml:3:11: providers[0].name: "},
		{"openid", "    grants:", "    scopes: [email]\n    grants:", "oidc.yaml:7:13: providers[0].scopes: "},
		{"empty", good, "", "oidc.yaml: it is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("oidc.yaml", []byte(strings.Replace(good, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) || dr.KindOf(err) != dr.KindInvalid {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells the secret: %v", err)
			}
		})
	}
}
