package azure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/azsim/pages"
	"understudy/test/azsim/sim"
)

// copyOf asks for a copy of shop-web in the other region.
func copyOf(t *testing.T, content []byte) site.ProvisionRequest {
	return site.ProvisionRequest{Owner: "run-1", Sources: map[string]string{"os": source(t, content)},
		Machine: dr.Machine{Name: "shop-web", Disks: []dr.Disk{{Name: "os", Size: int64(len(content))}}, NICs: []dr.NIC{{Network: "lan/default"}}}}
}

// resources are the IDs of everything in the simulation.
func resources(s *sim.Sim) []string {
	var all []string
	for _, kind := range []string{"virtualMachines", "disks", "snapshots"} {
		all = append(all, s.IDs("Microsoft.Compute/"+kind)...)
	}
	for _, kind := range []string{"networkInterfaces", "virtualNetworks", "networkSecurityGroups"} {
		all = append(all, s.IDs("Microsoft.Network/"+kind)...)
	}
	slices.Sort(all)
	return all
}

// TestProvisionKilled lets the controller die after each of its requests to Azure. The next one ends what was begun, and a
// deletion leaves nothing.
func TestProvisionKilled(t *testing.T) {
	content := make([]byte, 6<<20)
	copy(content[5<<20:], "boot")
	for n, ended := 0, false; !ended; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := start(t, sim.Options{Polls: 1})
			before := resources(s)
			dir := t.TempDir()
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			s.Fault(sim.Fault{Path: "/(resourceGroups|operations)/", Skip: n, Times: 1, Lose: true, Do: kill})
			req := copyOf(t, content)
			err := open(t, s, sim.ShopWest, dir).Provision(ctx, req)
			if ended = ctx.Err() == nil; ended != (err == nil) && ended {
				t.Fatal(err)
			}
			s.NoFaults()
			d := open(t, s, sim.ShopWest, dir)
			if n%2 == 0 { // half of them go on, the others are given up
				if err := d.Provision(t.Context(), req); err != nil {
					t.Fatal(err)
				}
				if err := d.Power(t.Context(), "shop-web", site.PowerStart); err != nil {
					t.Fatal(err)
				}
				if got := contentOf(t, s, d, "shop-web", "os"); !bytes.Equal(got, content) {
					t.Error("the disk differs from its source")
				}
			}
			if err := d.Delete(t.Context(), "shop-web"); err != nil {
				t.Fatal(err)
			}
			if after := resources(s); !slices.Equal(before, after) {
				t.Errorf("left behind: %v", slices.DeleteFunc(after, func(id string) bool { return slices.Contains(before, id) }))
			}
		})
		if n > 60 {
			t.Fatal("it does not end")
		}
	}
}

func contentOf(t *testing.T, s *sim.Sim, d site.Driver, machine, name string) []byte {
	t.Helper()
	list, err := d.Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for _, one := range m.Disks {
			if m.Name == machine && one.Name == name {
				p := make([]byte, one.Size)
				if _, err := s.Disk(one.Path).ReadAt(p, 0); err != nil {
					t.Fatal(err)
				}
				return p
			}
		}
	}
	t.Fatalf("%s has no disk %s", machine, name)
	return nil
}

// TestOperationGoesOn: who died waiting for an operation waits for the same one, and begins no other.
func TestOperationGoesOn(t *testing.T) {
	s := start(t, sim.Options{Polls: 6})
	dir := t.TempDir()
	ctx, kill := context.WithCancel(t.Context())
	s.Fault(sim.Fault{Path: "/operations/", Skip: 1, Times: 1, Do: kill})
	if err := open(t, s, sim.ShopEast, dir).Power(ctx, "shop-web", site.PowerShutdown); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	s.Calls()
	if err := open(t, s, sim.ShopEast, dir).Power(t.Context(), "shop-web", site.PowerShutdown); err != nil {
		t.Fatal(err)
	}
	calls := s.Calls()
	if calls["POST microsoft.compute/virtualmachines deallocate"] != 0 || calls["GET operation"] == 0 {
		t.Errorf("calls %v: the operation was begun again", calls)
	}
	// One that ended unseen, and was undone since, is begun again.
	if err := open(t, s, sim.ShopEast, dir).Power(t.Context(), "shop-web", site.PowerStart); err != nil {
		t.Fatal(err)
	}
	ctx, kill = context.WithCancel(t.Context())
	s.Fault(sim.Fault{Path: "/operations/", Skip: 1, Times: 1, Do: kill})
	if err := open(t, s, sim.ShopEast, dir).Power(ctx, "shop-web", site.PowerShutdown); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	other := open(t, s, sim.ShopEast, t.TempDir())
	for _, action := range []site.PowerAction{site.PowerShutdown, site.PowerStart} {
		if err := other.Power(t.Context(), "shop-web", action); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // the operation that nobody saw ends meanwhile
		s.Settle()
	}
	if err := open(t, s, sim.ShopEast, dir).Power(t.Context(), "shop-web", site.PowerShutdown); err != nil {
		t.Fatal(err)
	}
	if err := other.Probe(t.Context(), "shop-web", dr.Probe{}); err == nil {
		t.Error("the machine runs: an old operation was taken for the new one")
	}
}

// TestOnlyWhatChanged: a cycle reads what changed, whatever the size of the disks, and its grants may expire.
func TestOnlyWhatChanged(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopEast, t.TempDir())
	capture := func(name, since string) site.Capture {
		c, err := d.Capture(t.Context(), site.CaptureRequest{Group: "shop", Machines: []string{"shop-db", "shop-web"}, ID: name, Since: since})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := capture("one", "")
	if err := c.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	guestWrites(t, s, d, dr.DiskID{Machine: "shop-db", Disk: "data0"}, 300<<20, []byte("changed"))
	c = capture("two", "one")
	var changed int64
	for i, disk := range c.Disks() {
		if i == 1 {
			s.ExpireGrants()
		}
		ch, err := disk.Changes(t.Context())
		if err != nil || ch.Full {
			t.Fatalf("%s: %+v %v", disk.ID(), ch, err)
		}
		for _, e := range ch.Extents {
			changed += e.Length
			p := make([]byte, 7)
			s.ExpireGrants()
			if _, err := disk.ReadAt(p, e.Offset); err != nil || string(p) != "changed" {
				t.Errorf("read %q: %v", p, err)
			}
		}
	}
	if changed != dr.BlockSize {
		t.Errorf("%d bytes are to be read, want one block", changed)
	}
	if err := c.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := s.IDs("Microsoft.Compute/snapshots"); len(left) != 3 {
		t.Errorf("snapshots %v, want those of the last capture", left)
	}
	// The service cannot compare: everything is looked at, and said why.
	s.PageFault(func(c pages.Call) *pages.Failure {
		if c.Op == "diff" {
			return &pages.Failure{Status: http.StatusConflict, Code: "PreviousSnapshotNotFound"}
		}
		return nil
	})
	c = capture("three", "two")
	ch, err := c.Disks()[0].Changes(t.Context())
	if err != nil || !ch.Full || !strings.Contains(ch.Reason, "PreviousSnapshotNotFound") {
		t.Errorf("%+v %v", ch, err)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestHeldByLock: nobody starts a held machine, not even with the tools of Azure.
func TestHeldByLock(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopEast, t.TempDir())
	if err := d.Fence(t.Context(), "shop-web", true, "failed over"); err != nil {
		t.Fatal(err)
	}
	if locks := s.IDs("Microsoft.Authorization/locks"); len(locks) != 0 && len(locks) != 1 {
		t.Errorf("locks %v", locks)
	}
	if err := d.Power(t.Context(), "shop-web", site.PowerStart); dr.KindOf(err) != dr.KindFenced {
		t.Errorf("start: %v", err)
	}
	if err := d.Fence(t.Context(), "shop-web", false, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Power(t.Context(), "shop-web", site.PowerStart); err != nil {
		t.Error(err)
	}
	// An identity that may set no locks still holds the machine.
	s.Fault(sim.Fault{Method: http.MethodPut, Path: "/locks/", Status: http.StatusForbidden, Code: "AuthorizationFailed"})
	if err := d.Fence(t.Context(), "shop-web", true, "failed over"); err != nil {
		t.Fatal(err)
	}
	if err := d.Power(t.Context(), "shop-web", site.PowerStart); dr.KindOf(err) != dr.KindFenced {
		t.Errorf("start without a lock: %v", err)
	}
}
