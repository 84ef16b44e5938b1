package extension

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/fake"
)

// A cloud is a site that manages extensions itself.
type cloud struct {
	*fake.Site
	have   []dr.Extension
	silent error
	asked  []site.RestoreExtension
}

func (c *cloud) Owns(e dr.Extension) bool { return e.Settings["cloud"] != "" }

func (c *cloud) Extensions(context.Context, string) ([]dr.Extension, error) { return c.have, c.silent }

func (c *cloud) RestoreExtension(_ context.Context, q site.RestoreExtension) (dr.ExtensionResult, error) {
	c.asked = append(c.asked, q)
	switch {
	case q.Extension.Name == "broken":
		return dr.ExtensionResult{}, dr.WithHint(errors.New("it is marked for deletion"), dr.KindConflict, "wait for the deletion")
	case q.Rehearsal:
		return dr.ExtensionResult{Outcome: dr.ExtensionReady}, nil
	}
	return dr.ExtensionResult{Outcome: dr.ExtensionRestored, Reason: "installed again", Heartbeat: time.Unix(1700000000, 0)}, nil
}

func TestNative(t *testing.T) {
	w := newWorld(t)
	c := &cloud{Site: w.sites["west"].Site}
	w.m.o.Driver = func(context.Context, string) (site.Driver, error) { return c, nil }
	w.machine("west", "db")
	native := map[string]string{"cloud": "yes"}
	rule := []dr.Association{{Name: "logs", Rule: "rule-east"}}
	before := []dr.Extension{
		{Name: "monitor", Settings: native, Associations: rule, Status: dr.ExtensionHealthy},
		{Name: "gone", Settings: native, Status: dr.ExtensionHealthy},
	}

	// What was copied with a disk is associated with nothing: what it must be again is kept.
	c.have = []dr.Extension{{Name: "monitor", Settings: native, Status: dr.ExtensionUnresponsive, Message: "last heartbeat an hour ago"}}
	seen := w.inventory("west", "db", before)
	if len(seen) != 2 || len(find(seen, "monitor").Associations) != 1 || find(seen, "monitor").Status != dr.ExtensionUnresponsive {
		t.Fatalf("seen %+v", seen)
	}
	if g := find(seen, "gone"); g.Status != dr.ExtensionAbsent || g.Message == "" {
		t.Errorf("what is missing: %+v", g)
	}
	c.have, c.silent = nil, errors.New("the cloud does not answer")
	if g := find(w.inventory("west", "db", before), "monitor"); g.Status != dr.ExtensionUnknown || !strings.Contains(g.Message, "does not answer") {
		t.Errorf("of a silent cloud: %+v", g)
	}
	// A healthy one shows what it has, also when that is less than before.
	c.have, c.silent = []dr.Extension{{Name: "monitor", Settings: native, Status: dr.ExtensionHealthy}}, nil
	if g := find(w.inventory("west", "db", before), "monitor"); len(g.Associations) != 0 {
		t.Errorf("a healthy one is as it is: %+v", g)
	}

	broken := dr.Extension{Name: "broken", Settings: native}
	after := dr.Extension{Name: "after", Settings: native, DependsOn: []string{"broken"}}
	m := dr.Machine{Name: "db", Attributes: map[string]string{"identity": "system"}, Extensions: []dr.Extension{after, broken, before[0]}}
	results := map[string]dr.ExtensionResult{}
	for _, r := range w.restore(m) {
		results[r.Extension] = r
	}
	if r := results["monitor"]; r.Outcome != dr.ExtensionRestored || r.Heartbeat.IsZero() || r.Machine != "db" {
		t.Errorf("monitor: %+v", r)
	}
	if r := results["broken"]; r.Outcome != dr.ExtensionNotRestored || !strings.Contains(r.Reason, "marked for deletion (wait for the deletion)") {
		t.Errorf("broken: %+v", r)
	}
	if r := results["after"]; r.Outcome != dr.ExtensionNotRestored || !strings.Contains(r.Reason, "depends on broken") {
		t.Errorf("after: %+v", r)
	}
	if len(c.asked) != 2 || c.asked[0].Attributes["identity"] != "system" || c.asked[0].Source != "east" {
		t.Errorf("asked %+v", c.asked)
	}
}
