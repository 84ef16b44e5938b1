package azure_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/internal/site/sitetest"
	"understudy/test/azsim/sim"
)

// openHub opens a resource group of a simulated Azure Stack Hub, by its endpoint alone.
func openHub(t testing.TB, s *sim.Sim, p sim.Place, dir string) *azure.Site {
	t.Helper()
	c := s.Config(p.Region, p.Group)
	d, err := azure.New(azure.Config{Name: p.Group, Dir: dir, Subscription: c["subscription"], Location: p.Region, Group: p.Group, Cloud: azure.CloudHub, Endpoint: c["endpoint"], CA: c["ca"],
		Networks: map[string]string{"": "lan/default"}, Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// TestHub: a stack that knows its own versions of the API only, and a login that must be told the resource, captures and
// recovers machines. Its snapshots are full ones and cannot be compared, so that none is kept.
func TestHub(t *testing.T) {
	s := start(t, sim.Options{})
	s.Hub()
	d := openHub(t, s, sim.ShopEast, t.TempDir())
	list, err := d.Machines(t.Context())
	if err != nil || len(list) != 2 || list[0].Power != dr.PowerOn {
		t.Fatalf("%+v %v", list, err)
	}
	if x, err := d.Extensions(t.Context(), "shop-db"); err != nil || len(x) == 0 {
		t.Errorf("extensions: %+v %v", x, err)
	}
	id := dr.DiskID{Machine: "shop-web", Disk: "os"}
	text := bytes.Repeat([]byte("stack"), 4096)
	guestWrites(t, s, d, id, 1<<20, text)
	capture := func(name, since string) site.Changes {
		t.Helper()
		c, err := d.Capture(t.Context(), site.CaptureRequest{Group: "shop", Machines: []string{"shop-web"}, ID: name, Since: since})
		if err != nil {
			t.Fatal(err)
		}
		changes, err := c.Disks()[0].Changes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := c.Disks()[0].ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, text) {
			t.Errorf("the snapshot holds something else: %v", err)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return changes
	}
	capture("one", "")
	if c := capture("two", "one"); !c.Full || !strings.Contains(c.Reason, "cannot compare") {
		t.Errorf("%+v", c)
	}
	if left := s.IDs("Microsoft.Compute/snapshots"); len(left) != 0 {
		t.Errorf("snapshots are left: %s", left)
	}

	content := bytes.Repeat([]byte("disk"), 1<<18)
	m := dr.Machine{Name: "new", CPUs: 2, MemoryMiB: 6 << 10, Attributes: map[string]string{"azure.zone": "2", "azure.location": "westeurope", "azure.size": "Standard_D2s_v5"},
		Disks: []dr.Disk{{Name: "os", Size: 1 << 20, Attributes: map[string]string{"azure.sku": "StandardSSD_LRS"}}}}
	q := site.ProvisionRequest{Owner: "run-1", Machine: m, Sources: map[string]string{"os": source(t, content)}}
	if err := d.Provision(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if err := d.Power(t.Context(), "new", site.PowerStart); err != nil {
		t.Fatal(err)
	}
	if list, err = d.Machines(t.Context()); err != nil || len(list) != 3 {
		t.Fatalf("%+v %v", list, err)
	}
	made := list[0]
	if made.Attributes["azure.size"] != "Standard_DS2_v2" || made.Attributes["azure.zone"] != "" || made.Disks[0].Attributes["azure.sku"] != "Standard_LRS" {
		t.Errorf("%+v", made)
	}
	got := make([]byte, len(content))
	if _, err := s.Disk(made.Disks[0].Path).ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk holds something else: %v", err)
	}
	if err := d.Fence(t.Context(), "new", true, "test"); err != nil {
		t.Error(err)
	}
	if err := d.Fence(t.Context(), "new", false, ""); err != nil {
		t.Error(err)
	}
	for _, f := range d.Examine(t.Context()) {
		if f.Status == site.FindingFail {
			t.Errorf("%+v", f)
		}
	}
	// What a stack cannot run is said before anything is made.
	m.Name, m.Boot.Firmware = "uefi", "uefi"
	big := m
	big.Boot.Firmware, big.Disks = "", []dr.Disk{{Name: "os", Size: 2 << 40}}
	for what, m := range map[string]dr.Machine{"uefi": m, "large": big} {
		if err := d.Check(site.ProvisionRequest{Machine: m}); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.Check(site.ProvisionRequest{Machine: made, Set: map[string]string{"azure.zone": "1"}}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("a zone: %v", err)
	}
	if err := d.Delete(t.Context(), "new"); err != nil {
		t.Error(err)
	}
}

// TestHubRefusesOthers: the simulated stack is strict enough that a site which speaks as to Azure gets nowhere.
func TestHubRefusesOthers(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopEast, t.TempDir())
	s.Hub()
	if _, err := d.Machines(t.Context()); err == nil {
		t.Error("it answered to versions of Azure's API")
	}
}

// TestHubConformance is the suite's, without what needs to be told changes: TestHub captures.
func TestHubConformance(t *testing.T) {
	sitetest.Run(t, func(t *testing.T) *sitetest.Harness {
		s := start(t, sim.Options{RunCommand: shell})
		s.Hub()
		dir := t.TempDir()
		d := openHub(t, s, sim.ShopEast, dir)
		return &sitetest.Harness{
			Driver: d, Machine: "shop-web", Provision: true, Console: "login:",
			Write: func(t testing.TB, id dr.DiskID, off int64, p []byte) {
				guestWrites(t, s, d, id, off, p)
			},
			Source: source,
			Restart: func(t testing.TB) site.Driver {
				_ = d.Close()
				d = openHub(t, s, sim.ShopEast, dir)
				return d
			},
		}
	}, "Capture", "Forget")
}
