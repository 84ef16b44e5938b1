package cli

import (
	"testing"

	"understudy/internal/api/wire"
)

// TestNext checks that a run says what comes next as long as that is to be done, and not what would be refused.
func TestNext(t *testing.T) {
	for _, tt := range []struct {
		about, kind string
		status      wire.Status
		want        string
	}{
		{"a failover", "failover", wire.Status{Run: "r1", Allowed: []string{"change-point", "commit"}}, "look at it, then understudy commit shop"},
		{"a planned one", "planned-failover", wire.Status{Run: "r1", Allowed: []string{"commit"}}, "look at it, then understudy commit shop"},
		{"one that is committed", "failover", wire.Status{Run: "r1", Allowed: []string{"reprotect"}}, ""},
		{"one before another", "failover", wire.Status{Run: "r2", Allowed: []string{"commit"}}, ""},
		{"a commit", "commit", wire.Status{Run: "r0", Allowed: []string{"reprotect"}}, "understudy reprotect shop"},
		{"the commit of a failback", "commit", wire.Status{Allowed: []string{"failover"}}, ""},
		{"a rehearsal", "test-failover", wire.Status{TestRun: "r1", Allowed: []string{"cleanup"}}, "look at it, then understudy cleanup shop"},
		{"one that is cleaned up", "test-failover", wire.Status{Allowed: []string{"test-failover"}}, ""},
		{"one before another", "test-failover", wire.Status{TestRun: "r2", Allowed: []string{"cleanup"}}, ""},
		{"a drill", "drill", wire.Status{}, "understudy run report r1 --out report.html"},
		{"a clone", "clone", wire.Status{}, ""},
	} {
		if got := next(wire.Run{ID: "r1", Kind: tt.kind, Group: "shop"}, tt.status); got != tt.want {
			t.Errorf("%s (%s): %q, want %q", tt.about, tt.kind, got, tt.want)
		}
	}
}
