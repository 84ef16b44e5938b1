package azure_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/sim"
)

// failedOver is what Site Recovery leaves in the other region: a machine with a copy of shop-web's disk.
func failedOver(t *testing.T, s *sim.Sim) {
	t.Helper()
	if _, err := s.Machine(sim.Machine{Name: "shop-web", Place: sim.ShopWest, Disks: []int{1}}); err != nil {
		t.Fatal(err)
	}
	from, to := s.Disk(disk(s, sim.ShopEast, "shop-web-disk0")), s.Disk(disk(s, sim.ShopWest, "shop-web-disk0"))
	for _, r := range from.Ranges() {
		p := make([]byte, r.Length)
		if _, err := from.ReadAt(p, r.Offset); err != nil {
			t.Fatal(err)
		}
		if _, err := to.WriteAt(p, r.Offset); err != nil {
			t.Fatal(err)
		}
	}
}

// disk is the ID of a disk of the shop.
func disk(s *sim.Sim, p sim.Place, name string) string {
	return s.Group(p.Group) + "/providers/Microsoft.Compute/disks/" + name
}

// agent is the monitoring agent of shop-web, as it is in france.
func agent(t *testing.T, s *sim.Sim) dr.Extension {
	t.Helper()
	list, err := open(t, s, sim.ShopEast, t.TempDir()).Extensions(t.Context(), "shop-web")
	if err != nil || len(list) != 1 || list[0].Status != dr.ExtensionHealthy || list[0].Heartbeat.IsZero() || len(list[0].Associations) != 2 {
		t.Fatalf("at the source: %+v %v", list, err)
	}
	return list[0]
}

func restore(t *testing.T, d *azure.Site, e dr.Extension, rehearsal bool) (dr.ExtensionResult, error) {
	return d.RestoreExtension(t.Context(), site.RestoreExtension{Machine: "shop-web", Extension: e, Source: "shop-east", Rehearsal: rehearsal, Say: t.Logf,
		Secret: func(string) (string, error) { return "", errors.New("no secrets here") }})
}

// TestRestoreAgent is S1 on Azure: the agent that came with the disk is unresponsive until it is removed, installed and
// associated again.
func TestRestoreAgent(t *testing.T) {
	s := start(t, sim.Options{Polls: 2, HeartbeatEvery: 20 * time.Millisecond})
	want := agent(t, s)
	failedOver(t, s)
	d := open(t, s, sim.ShopWest, t.TempDir())
	seen, err := d.Extensions(t.Context(), "shop-web")
	if err != nil || len(seen) != 1 || seen[0].Status != dr.ExtensionUnresponsive || !strings.Contains(seen[0].Message, "is unresponsive. Last heartbeat") || !d.Owns(seen[0]) {
		t.Fatalf("before: %+v %v", seen, err)
	}
	if res, err := restore(t, d, want, true); err != nil || res.Outcome != dr.ExtensionReady || !strings.Contains(res.Reason, "rule logs-brazilsouth") {
		t.Errorf("rehearsed: %+v %v", res, err)
	}
	res, err := restore(t, d, want, false)
	if err != nil || res.Outcome != dr.ExtensionRestored || res.Heartbeat.IsZero() {
		t.Fatalf("restored: %+v %v", res, err)
	}
	seen, err = d.Extensions(t.Context(), "shop-web")
	if err != nil || len(seen) != 1 || seen[0].Status != dr.ExtensionHealthy || len(seen[0].Associations) != 2 {
		t.Fatalf("after: %+v %v", seen, err)
	}
	for _, a := range seen[0].Associations {
		if !strings.Contains(a.Rule, "/shop-west/") {
			t.Errorf("associated with %s", a.Rule)
		}
	}
	if res, err := restore(t, d, want, false); err != nil || res.Outcome != dr.ExtensionAlreadyHealthy {
		t.Errorf("again: %+v %v", res, err)
	}
}

// TestRestoreAgentTrouble is what Azure answers when it does not work.
func TestRestoreAgentTrouble(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(*sim.Sim, *azure.Site) error
		want   string // in the error; empty for success
		kind   dr.Kind
	}{
		"stopped": {func(_ *sim.Sim, d *azure.Site) error { return d.Power(t.Context(), "shop-web", site.PowerKill) }, "extensions change only while it runs", dr.KindConflict},
		"throttled": {func(s *sim.Sim, _ *azure.Site) error {
			s.Fault(sim.Fault{Method: http.MethodPut, Path: "/extensions/", Times: 2, Status: http.StatusTooManyRequests, Code: "OperationNotAllowed"})
			return nil
		}, "", ""},
		"the answer to the install is lost": {func(s *sim.Sim, _ *azure.Site) error {
			s.Fault(sim.Fault{Method: http.MethodPut, Path: "/extensions/", Times: 1, Lose: true})
			return nil
		}, "", ""},
		"marked for deletion": {func(s *sim.Sim, _ *azure.Site) error {
			s.Fault(sim.Fault{Method: http.MethodPut, Path: "/extensions/", Times: 1, Status: http.StatusConflict, Code: "Conflict", Text: "it is marked for deletion"})
			return nil
		}, "", ""},
		"no rule": {func(s *sim.Sim, _ *azure.Site) error {
			s.Fault(sim.Fault{Path: "dataCollectionRules/logs-brazilsouth", Status: http.StatusNotFound, Code: "ResourceNotFound"})
			return nil
		}, "has no counterpart", dr.KindInvalid},
		"forbidden": {func(s *sim.Sim, _ *azure.Site) error {
			s.Fault(sim.Fault{Method: http.MethodDelete, Path: "/extensions/", Status: http.StatusForbidden, Code: "AuthorizationFailed"})
			return nil
		}, "AuthorizationFailed", dr.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, sim.Options{HeartbeatEvery: 20 * time.Millisecond})
			want := agent(t, s)
			failedOver(t, s)
			d := open(t, s, sim.ShopWest, t.TempDir())
			if err := tt.before(s, d); err != nil {
				t.Fatal(err)
			}
			res, err := restore(t, d, want, false)
			if tt.want == "" {
				if err != nil || res.Outcome != dr.ExtensionRestored {
					t.Errorf("%+v %v", res, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || dr.KindOf(err) != tt.kind || dr.Hint(err) == "" {
				t.Errorf("%v (kind %s, hint %q), want %q", err, dr.KindOf(err), dr.Hint(err), tt.want)
			}
		})
	}
}
