package azure_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/sim"
)

var _ site.Rehearser = (*azure.Site)(nil)

// changes records the requests to Resource Manager that change something, sorted.
func changes(s *sim.Sim) func() []string {
	var mu sync.Mutex
	var list []string
	s.Serve(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, "/subscriptions/") {
			list = append(list, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("api-version"))
		}
		return false
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := list
		list = nil
		slices.Sort(out)
		return out
	}
}

// rehearsed are the calls of a rehearsal as changes has them.
func rehearsed(t *testing.T, calls []site.ProviderCall) (out []string) {
	t.Helper()
	for _, c := range calls {
		if strings.HasPrefix(c.Path, "(the grant") {
			continue // to the disk, not to Resource Manager
		}
		path, query, _ := strings.Cut(c.Path, "?")
		_, version, _ := strings.Cut(query, "api-version=")
		version, _, _ = strings.Cut(version, "&")
		out = append(out, c.Method+" "+path+" "+version)
		if c.Body != "" && !json.Valid([]byte(c.Body)) {
			t.Errorf("%s %s: %s", c.Method, path, c.Body)
		}
	}
	slices.Sort(out)
	return out
}

// TestRehearse: what a rehearsal says is what is sent then, and a rehearsal changes nothing.
func TestRehearse(t *testing.T) {
	s := start(t, sim.Options{})
	dir := t.TempDir()
	east, west := open(t, s, sim.ShopEast, t.TempDir()), open(t, s, sim.ShopWest, dir)
	sent := changes(s)
	compare := func(what string, calls []site.ProviderCall, err error, do func() error) {
		t.Helper()
		if err != nil {
			t.Fatalf("rehearse %s: %v", what, err)
		}
		if got := sent(); len(got) > 0 {
			t.Errorf("the rehearsal of %s sent %s", what, got)
		}
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		want, got := sent(), rehearsed(t, calls)
		if !slices.Equal(got, want) {
			t.Errorf("%s: rehearsed\n  %s\nsent\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
	uri := source(t, make([]byte, 3<<20))
	q := site.ProvisionRequest{Owner: "run-1", Isolation: "run-1", Sources: map[string]string{"os": uri, "data": uri}, Machine: dr.Machine{Name: "new", CPUs: 2, MemoryMiB: 2048,
		Disks: []dr.Disk{{Name: "os", Size: 3 << 20}, {Name: "data", Size: 3 << 20}}, NICs: []dr.NIC{{Network: "lan", Attributes: map[string]string{"azure.allocation": "Static", "azure.private-ip": "10.255.0.9"}}}}}
	calls, err := west.RehearseProvision(t.Context(), q, true)
	if !slices.ContainsFunc(calls, func(c site.ProviderCall) bool {
		return strings.Contains(c.Body, `"privateIPAllocationMethod":"Static"`)
	}) {
		t.Errorf("the address is not fixed: %+v", calls)
	}
	compare("provision", calls, err, func() error {
		if err := west.Provision(t.Context(), q); err != nil {
			return err
		}
		return west.Power(t.Context(), "new", site.PowerStart)
	})
	calls, err = east.RehearseFence(t.Context(), "shop-db")
	compare("fence", calls, err, func() error { return east.Fence(t.Context(), "shop-db", true, "failover") })

	c := cloneOf(t, east, "copy")
	c.Verify = false
	calls, err = west.RehearseCopy(t.Context(), c, true)
	compare("copy", calls, err, func() error {
		if _, err := west.CopyMachine(t.Context(), c, silent); err != nil {
			return err
		}
		if err := west.Power(t.Context(), "copy", site.PowerStart); err != nil {
			return err
		}
		return west.EndCopy(t.Context(), east, c.Owner)
	})
	// What is not allowed is said before.
	c.Machine.Name = "no name!"
	if calls, err := west.RehearseCopy(t.Context(), c, false); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("%+v %v", calls, err)
	}
}
