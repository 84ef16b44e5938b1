package azure_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/sim"
)

var (
	_ site.Examiner = (*azure.Site)(nil)
	_ site.Checker  = (*azure.Site)(nil)
)

func TestExamine(t *testing.T) {
	reader := []string{"Microsoft.Compute/*", "Microsoft.Network/*", "Microsoft.Resources/subscriptions/resourceGroups/read"}
	for name, c := range map[string]struct {
		actions, not []string
		cores        int
		role, quota  string // statuses
		says         string
	}{
		"everything":    {nil, nil, 0, "ok", "ok", ""},
		"without locks": {reader, nil, 0, "warn", "ok", "kept from starting by Understudy only"},
		"read only":     {[]string{"*/read"}, nil, 0, "fail", "ok", "Microsoft.Compute/disks/*"},
		"no grants":     {[]string{"*"}, []string{"Microsoft.Compute/snapshots/beginGetAccess/action"}, 0, "fail", "ok", "Microsoft.Compute/snapshots/*"},
		"quota used up": {nil, nil, 4, "ok", "warn", "4 of 4 processors"},
		"other case":    {[]string{"microsoft.COMPUTE/*", "MICROSOFT.network/*", "*/read", "Microsoft.Insights/*", "Microsoft.Authorization/*", "*/assign/action"}, nil, 0, "ok", "ok", ""},
		"contributor":   {[]string{"*"}, []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}, 0, "warn", "ok", "kept from starting"},
		"no blueprints": {[]string{"*"}, []string{"Microsoft.Blueprint/*"}, 0, "ok", "ok", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, sim.Options{Actions: c.actions, NotActions: c.not, Cores: c.cores})
			got := map[string]site.Finding{}
			for _, f := range open(t, s, sim.ShopEast, t.TempDir()).Examine(t.Context()) {
				got[f.Check] = f
				if f.Status != site.FindingOK && f.Remedy == "" {
					t.Errorf("no remedy for %+v", f)
				}
			}
			if got["role"].Status != c.role || got["quota"].Status != c.quota || got["access"].Status != "ok" || got["region"].Status != "ok" || got["network default"].Status != "ok" ||
				!strings.Contains(got["role"].Message+got["quota"].Message, c.says) {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("wrong settings", func(t *testing.T) {
		s := start(t, sim.Options{})
		for _, c := range []struct {
			place sim.Place
			check string
		}{{sim.Place{Group: "elsewhere", Region: "francecentral"}, "access"}, {sim.Place{Group: "shop-east", Region: "atlantis"}, "region"}} {
			list := open(t, s, c.place, t.TempDir()).Examine(t.Context())
			if !slices.ContainsFunc(list, func(f site.Finding) bool { return f.Check == c.check && f.Status == site.FindingFail && f.Remedy != "" }) {
				t.Errorf("%s: %+v", c.check, list)
			}
		}
	})
}

// TestRole: what is printed is a role that the documents show, and enough for everything that the other tests do.
func TestRole(t *testing.T) {
	s := start(t, sim.Options{})
	var role struct {
		Actions          []string
		AssignableScopes []string
	}
	if err := json.Unmarshal([]byte(open(t, s, sim.ShopEast, t.TempDir()).Role()), &role); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../../docs/azure.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range role.Actions {
		if !strings.Contains(string(doc), `"`+a+`"`) {
			t.Errorf("docs/azure.md does not show %s", a)
		}
	}
	if len(role.Actions) == 0 || len(role.AssignableScopes) != 1 || !strings.HasSuffix(role.AssignableScopes[0], "/resourceGroups/shop-east") {
		t.Errorf("%+v", role)
	}
}

// TestOrphans: a controller that lost its state finds by their tags what it had made, and takes nothing else.
func TestOrphans(t *testing.T) {
	s := start(t, sim.Options{})
	before := resources(s)
	dir := t.TempDir()
	d := open(t, s, sim.ShopWest, dir)
	q := copyOf(t, make([]byte, 2<<20))
	q.Isolation = "run-1"
	if err := d.Provision(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Orphans(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("a prepared machine is taken for left over: %v, %v", list, err)
	}
	if err := os.Remove(filepath.Join(dir, "state.json")); err != nil {
		t.Fatal(err)
	}
	other := open(t, s, sim.ShopEast, t.TempDir())
	if list, err := other.RemoveOrphans(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("another site took %v, %v", list, err)
	}
	d = open(t, s, sim.ShopWest, dir)
	list, err := d.RemoveOrphans(t.Context())
	if err != nil || len(list) != 4 { // a disk, a network interface, an isolated network and its security group
		t.Fatalf("removed %v, %v", list, err)
	}
	if after := resources(s); !slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
}

// TestOrphansOfCopies: snapshots of a copy are left over when they are older than a copy that failed is kept; those of a
// capture never are.
func TestOrphansOfCopies(t *testing.T) {
	for age, want := range map[time.Duration]int{time.Hour: 0, 9 * 24 * time.Hour: 2} {
		s := start(t, sim.Options{Now: func() time.Time { return time.Now().Add(-age) }})
		before := resources(s)
		east, west := open(t, s, sim.ShopEast, t.TempDir()), open(t, s, sim.ShopWest, t.TempDir())
		if _, err := west.CopyMachine(t.Context(), cloneOf(t, east, "copy"), silent); err != nil {
			t.Fatal(err)
		}
		c, err := east.Capture(t.Context(), site.CaptureRequest{Group: "shop", Machines: []string{"shop-web"}, ID: "one"})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*azure.Site{east, west} { // both sides have a snapshot of each of two disks
			if list, err := d.RemoveOrphans(t.Context()); err != nil || len(list) != want {
				t.Errorf("of %s: removed %v, %v", age, list, err)
			}
		}
		if err := errors.Join(c.Abort(t.Context()), west.Delete(t.Context(), "copy"), west.EndCopy(t.Context(), east, "run-1")); err != nil {
			t.Fatal(err)
		}
		if after := resources(s); !slices.Equal(before, after) {
			t.Errorf("%v became %v", before, after)
		}
	}
}
