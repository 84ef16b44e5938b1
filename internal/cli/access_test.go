package cli

import (
	"testing"

	"understudy/internal/api/wire"
)

func TestRoleFlags(t *testing.T) {
	for _, tt := range []struct {
		role, scope string
		ok          bool
	}{{"operator", "group:shop", true}, {"viewer", "*", true}, {"drill-runner", "site:east", true}, {"king", "*", false}, {"viewer", "town:x", false}, {"viewer", "site:", false}} {
		g, err := roleFlags{tt.role, tt.scope}.grant()
		if (err == nil) != tt.ok || tt.ok && g != (wire.RoleGrant{Role: tt.role, Scope: tt.scope}) {
			t.Errorf("%s %s: %+v %v", tt.role, tt.scope, g, err)
		}
	}
}
