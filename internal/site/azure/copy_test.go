package azure_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/sim"
)

var _ site.Copier = (*azure.Site)(nil)

// cloneOf asks for a copy of shop-db with both of its disks.
func cloneOf(t *testing.T, from *azure.Site, name string) site.CopyRequest {
	t.Helper()
	list, err := from.Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == "shop-db" })
	m := list[i]
	m.Name, m.Power = name, ""
	return site.CopyRequest{From: from, Source: "shop-db", Machine: m, Owner: "run-1", Verify: true}
}

// sumOf is a digest of the data on a disk.
func sumOf(t *testing.T, s *sim.Sim, id string) string {
	t.Helper()
	b, hash := s.Disk(id), sha256.New()
	for _, r := range b.Ranges() {
		p := make([]byte, r.Length)
		if _, err := b.ReadAt(p, r.Offset); err != nil {
			t.Fatal(err)
		}
		if len(bytes.Trim(p, "\x00")) > 0 {
			fmt.Fprintf(hash, "%d %x\n", r.Offset, p)
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

func silent(int64, int64) {}

// TestCopyKilled lets the controller die after each of its requests while the cloud copies a machine of two disks, to
// another region and within one. The next one goes on or gives up; nothing is left, and what is copied is the same bit for
// bit and of one instant.
func TestCopyKilled(t *testing.T) {
	for name, to := range map[string]sim.Place{"another region": sim.ShopWest, "one region": sim.ShopEast} {
		t.Run(name, func(t *testing.T) {
			for n, ended := 0, false; !ended; n++ {
				ended = copyKilled(t, to, n)
				if n > 120 {
					t.Fatal("it does not end")
				}
			}
		})
	}
}

func copyKilled(t *testing.T, place sim.Place, n int) (ended bool) {
	s := start(t, sim.Options{Polls: 1, CopyTime: 20 * time.Millisecond})
	before := resources(s)
	here, there := t.TempDir(), t.TempDir()
	from, to := open(t, s, sim.ShopEast, here), open(t, s, place, there)
	req := cloneOf(t, from, "shop-db-copy")
	want := map[string]string{}
	for i, d := range req.Machine.Disks {
		for _, at := range []int64{3 << 20, 700 << 20} {
			if _, err := s.Disk(d.Path).WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 10000), at); err != nil {
				t.Fatal(err)
			}
		}
		want[d.Name] = sumOf(t, s, d.Path)
	}
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	s.Fault(sim.Fault{Path: "/(resourceGroups|operations)/", Skip: n, Times: 1, Lose: true, Do: kill})
	req.Verify = false
	_, err := to.CopyMachine(ctx, req, silent)
	if ended = ctx.Err() == nil; ended && err != nil {
		t.Fatal(err)
	}
	s.NoFaults()
	from, to = open(t, s, sim.ShopEast, here), open(t, s, place, there)
	req.From, req.Verify = from, true
	if n%2 == 0 {
		done, err := to.CopyMachine(t.Context(), req, silent)
		if err != nil {
			t.Fatalf("after request %d: %v", n, err)
		}
		if len(done.Digests) != len(want) || done.Instant.IsZero() || done.Size == 0 {
			t.Errorf("after request %d: %+v", n, done)
		}
		if err := to.Power(t.Context(), "shop-db-copy", site.PowerStart); err != nil {
			t.Fatal(err)
		}
		list, err := to.Machines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list[slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == "shop-db-copy" })].Disks {
			if sumOf(t, s, d.Path) != want[d.Name] {
				t.Errorf("after request %d: disk %s differs from its source", n, d.Name)
			}
			delete(want, d.Name)
		}
		if len(want) > 0 {
			t.Errorf("after request %d: disks missing: %v", n, want)
		}
	}
	if err := to.Delete(t.Context(), "shop-db-copy"); err != nil {
		t.Fatal(err)
	}
	// A request of the dead controller may still be on its way: the sweeper ends copies again.
	for range 200 {
		if err := to.EndCopy(t.Context(), from, req.Owner); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(before, resources(s)) {
			return ended
		}
		time.Sleep(5 * time.Millisecond)
	}
	if after := resources(s); !slices.Equal(before, after) {
		t.Fatalf("after request %d, left behind: %v", n, slices.DeleteFunc(after, func(id string) bool { return slices.Contains(before, id) }))
	}
	return ended
}

// TestCopyProgress: a copy to another region is told in percent, goes on after the region was away, and is not taken for
// whole while its percentage says otherwise.
func TestCopyProgress(t *testing.T) {
	s := start(t, sim.Options{CopyTime: 150 * time.Millisecond})
	from, to := open(t, s, sim.ShopEast, t.TempDir()), open(t, s, sim.ShopWest, t.TempDir())
	req := cloneOf(t, from, "shop-db-copy")
	var told []int64
	done, err := to.CopyMachine(t.Context(), req, func(n, total int64) {
		told = append(told, n*100/total)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(told) || told[len(told)-1] != 100 || len(told) < 6 {
		t.Errorf("told %v", told)
	}
	if took := done.Copied.Sub(done.Began); took < 150*time.Millisecond {
		t.Errorf("taken for whole after %s", took)
	}
	// What was copied differs now: that is found out.
	_, err = to.CopyMachine(t.Context(), req, silent)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range s.IDs("Microsoft.Compute/disks") {
		if strings.Contains(id, "shop-db-copy-data0") {
			if _, err := s.Disk(id).WriteAt(bytes.Repeat([]byte{7}, 4096), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err = to.CopyMachine(t.Context(), req, silent); dr.KindOf(err) != dr.KindCorrupt {
		t.Errorf("a disk that differs: %v", err)
	}
}

// TestCopyAttributes clones in one region with everything about the machine changed.
func TestCopyAttributes(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopEast, t.TempDir())
	if err := s.Put(s.Group(sim.ShopEast.Group)+"/providers/Microsoft.Compute/availabilitySets/twins", map[string]any{"location": sim.ShopEast.Region, "sku": map[string]any{"name": "Aligned"}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ set map[string]string }{
		"zone": {map[string]string{"azure.size": "Standard_D4s_v5", "azure.zone": "2"}},
		"set":  {map[string]string{"azure.size": "Standard_D8s_v5", "azure.availability-set": "twins", "azure.zone": "", "azure.license": "RHEL_BYOS"}},
	} {
		req := cloneOf(t, d, "lab-"+name)
		req.Owner, req.Set = "run-"+name, c.set
		for i := range req.Machine.Disks {
			one := &req.Machine.Disks[i]
			one.Size += 1 << 30
			one.Attributes["azure.sku"] = "Premium_LRS"
		}
		if _, err := d.CopyMachine(t.Context(), req, silent); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Power(t.Context(), "lab-"+name, site.PowerStart); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list, err := d.Machines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := list[slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == "lab-"+name })]
		for key, value := range c.set {
			if got := m.Attributes[key]; got != value && !strings.HasSuffix(got, "/"+value) {
				t.Errorf("%s: %s is %q, not %q", name, key, got, value)
			}
		}
		for i, one := range m.Disks {
			if one.Attributes["azure.sku"] != "Premium_LRS" || one.Size != req.Machine.Disks[i].Size {
				t.Errorf("%s: disk %+v", name, one)
			}
		}
		if err := d.EndCopy(t.Context(), d, req.Owner); err != nil {
			t.Fatal(err)
		}
	}
	for shape, want := range map[[2]int]string{{0, 0}: "Standard_D2s_v5", {4, 8192}: "Standard_F4s_v2", {4, 16384}: "Standard_D4s_v5", {1, 12000}: "Standard_E2s_v5", {3, 0}: "Standard_F4s_v2"} {
		req := cloneOf(t, d, "lab-shape")
		req.Owner, req.Machine.CPUs, req.Machine.MemoryMiB = fmt.Sprint("run-", shape), shape[0], shape[1]
		if _, err := d.CopyMachine(t.Context(), req, silent); err != nil {
			t.Fatal(err)
		}
		list, err := d.Machines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m := list[slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == "lab-shape" })]; m.Attributes["azure.size"] != want || m.CPUs < shape[0] || m.MemoryMiB < shape[1] {
			t.Errorf("%v: %s with %d processors and %d MiB, not %s", shape, m.Attributes["azure.size"], m.CPUs, m.MemoryMiB, want)
		}
		if err := errors.Join(d.Delete(t.Context(), "lab-shape"), d.EndCopy(t.Context(), d, req.Owner)); err != nil {
			t.Fatal(err)
		}
	}
	for set, want := range map[string]string{"azure.colour": "azure.size", "azure.zone+azure.availability-set": "not in both"} {
		req := cloneOf(t, d, "lab-wrong")
		req.Owner, req.Set = "run-wrong", map[string]string{}
		for key := range strings.SplitSeq(set, "+") {
			req.Set[key] = "1"
		}
		if _, err := d.CopyMachine(t.Context(), req, silent); dr.KindOf(err) != dr.KindInvalid || !strings.Contains(fmt.Sprint(err, dr.Hint(err)), want) {
			t.Errorf("%s: %v (%s)", set, err, dr.Hint(err))
		}
		if err := d.EndCopy(t.Context(), d, req.Owner); err != nil {
			t.Fatal(err)
		}
	}
	if left := s.IDs("Microsoft.Compute/snapshots"); len(left) > 0 {
		t.Errorf("snapshots left: %v", left)
	}
}
