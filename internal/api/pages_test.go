package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// listBackend has many groups.
type listBackend struct {
	backend
	list     []controller.Status
	machines []controller.MachineRow
}

func (b *listBackend) Status(context.Context, string) ([]controller.Status, error) {
	return slices.Clone(b.list), nil
}

func (b *listBackend) AllMachines(context.Context) ([]controller.MachineRow, error) {
	return slices.Clone(b.machines), nil
}

func many(n int) *listBackend {
	b, healths := &listBackend{}, dr.Healths()
	for i := range n {
		s := controller.Status{Group: dr.Group{Name: fmt.Sprintf("g%02d", i), Site: []string{"east", "west"}[i%2], Target: "north", Vault: "main",
			Machines: []dr.MachinePolicy{{Name: fmt.Sprintf("vm-%d", i)}}}, Health: healths[i%len(healths)]}
		s.Protection.State = dr.StateProtected
		if i > 0 { // of the first nothing can be recovered
			s.Recoverable, s.KnownGood = true, time.Unix(int64(2000-i), 0)
		}
		b.list = append(b.list, s)
	}
	return b
}

func names(list []wire.Status) (all []string) {
	for _, s := range list {
		all = append(all, s.Group)
	}
	return all
}

func TestStatusFilters(t *testing.T) {
	b := many(12)
	c := client.New(serveBackend(t, b).URL, "right")
	for _, tt := range []struct {
		q    client.StatusQuery
		want string
	}{
		{client.StatusQuery{Q: "VM-1"}, "g01 g10 g11"},
		{client.StatusQuery{Q: "g03"}, "g03"},
		{client.StatusQuery{Q: "nort", Site: "west", Health: "unknown"}, "g01 g05 g09"},
		{client.StatusQuery{State: "committed"}, ""},
		{client.StatusQuery{Sort: "health", Q: "g0"}, "g00 g04 g08 g01 g05 g09 g02 g06 g03 g07"},
		{client.StatusQuery{Sort: "lag", Q: "g0"}, "g00 g09 g08 g07 g06 g05 g04 g03 g02 g01"},
	} {
		list, err := c.AllStatus(t.Context(), tt.q)
		if got := strings.Join(names(list), " "); err != nil || got != tt.want {
			t.Errorf("%v: got %s, want %s, %v", tt.q, got, tt.want, err)
		}
	}
	for _, q := range []client.StatusQuery{{Health: "fine"}, {Sort: "size"}, {After: "!"}} {
		if _, err := c.Status(t.Context(), q); dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%v: %v", q, err)
		}
	}
}

// Whatever comes and goes between two pages, no group that stays is missed or shown twice.
func TestPagesAreStable(t *testing.T) {
	for _, sort := range []string{"name", "lag", "health"} {
		b := many(40)
		c := client.New(serveBackend(t, b).URL, "right")
		var seen []string
		for q := (client.StatusQuery{Sort: sort, Limit: 7}); ; {
			p, err := c.Status(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, names(p.Items)...)
			if p.Total != len(b.list) {
				t.Errorf("total %d of %d", p.Total, len(b.list))
			}
			if q.After = p.Next; q.After == "" {
				break
			}
			// The last that was shown goes, and one comes before all of them.
			last := seen[len(seen)-1]
			b.list = slices.DeleteFunc(b.list, func(s controller.Status) bool { return s.Group.Name == last })
			b.list = append(b.list, controller.Status{Group: dr.Group{Name: "a-" + last}, Health: dr.HealthCritical})
		}
		slices.Sort(seen)
		if unique := slices.Compact(slices.Clone(seen)); len(unique) != len(seen) || len(seen) != 40 {
			t.Errorf("by %s: %d shown, %d different", sort, len(seen), len(unique))
		}
	}
}

func TestMachineRows(t *testing.T) {
	b := many(2)
	b.machines = []controller.MachineRow{
		{Site: "west", Provider: "qemu", Machine: dr.Machine{Name: "vm-1", Power: dr.PowerOn, Disks: []dr.Disk{{Size: 5}, {Size: 6}}}, Status: &b.list[1], Observed: time.Unix(9, 0)},
		{Site: "east", Provider: "azure", Machine: dr.Machine{Name: "vm-0"}, Status: &b.list[0], Problem: "no route"},
		{Site: "west", Provider: "qemu", Machine: dr.Machine{Name: "free", Power: dr.PowerOff}},
	}
	c := client.New(serveBackend(t, b).URL, "right")
	for _, tt := range []struct {
		q    client.ListAllMachinesQuery
		want string
	}{
		{client.ListAllMachinesQuery{}, "east/vm-0 west/free west/vm-1"},
		{client.ListAllMachinesQuery{Protected: "no"}, "west/free"},
		{client.ListAllMachinesQuery{Power: "unknown"}, "east/vm-0"},
		{client.ListAllMachinesQuery{Q: "G01"}, "west/vm-1"},
		{client.ListAllMachinesQuery{Provider: "qemu", State: "protected"}, "west/vm-1"},
		{client.ListAllMachinesQuery{Health: "critical"}, "east/vm-0"},
	} {
		list, err := c.AllMachines(t.Context(), tt.q)
		var got []string
		for _, m := range list {
			got = append(got, m.Site+"/"+m.Name)
		}
		if strings.Join(got, " ") != tt.want || err != nil {
			t.Errorf("%v: %v, want %s, %v", tt.q, got, tt.want, err)
		}
	}
	list, err := c.AllMachines(t.Context(), client.ListAllMachinesQuery{Q: "vm-1"})
	if err != nil || len(list) != 1 || list[0].DiskBytes != 11 || list[0].Disks != 2 || list[0].Group != "g01" || list[0].LoseSeconds == nil {
		t.Errorf("%+v %v", list, err)
	}
}

func TestRunPages(t *testing.T) {
	w := newWorld(t, Options{})
	for i := range 25 {
		r := store.Run{ID: fmt.Sprintf("r%02d", i), Kind: "clone", State: store.RunFailed, Requested: time.Unix(int64(i/3), 0).UTC(), Ended: time.Unix(99, 0)}
		if err := w.addRun(r); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for after := ""; ; {
		resp := w.get("/v1/runs?kind=clone&limit=10&after=" + after)
		var list []wire.Run
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Total") != "25" {
			t.Fatalf("%d, total %s, %v", resp.StatusCode, resp.Header.Get("X-Total"), err)
		}
		for _, r := range list {
			seen = append(seen, r.ID)
		}
		if after = resp.Header.Get("X-Next"); after == "" {
			break
		}
	}
	if len(seen) != 25 || seen[0] != "r24" || seen[24] != "r00" || !slices.IsSortedFunc(seen, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%v", seen)
	}
	if resp := w.get("/v1/runs?state=succeeded"); resp.Header.Get("X-Total") != "0" {
		t.Errorf("total %s", resp.Header.Get("X-Total"))
	}
	if resp := w.get("/v1/runs?after=abc"); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// addRun puts a run into the controller's store, which SQLite lets another connection do.
func (w *world) addRun(r store.Run) error {
	s, err := store.Open(w.t.Context(), w.dir+"/state.db", store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.CreateRun(w.t.Context(), r, nil)
}

// get asks with the administrator's token.
func (w *world) get(path string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.file(controller.TokenFile))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return resp
}
