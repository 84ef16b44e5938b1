package replicate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

const diskSize = 4 << 20

var (
	diskDB  = dr.DiskID{Machine: "db", Disk: "data"}
	diskWeb = dr.DiskID{Machine: "web", Disk: "root"}
)

// rig is a group of two machines on a site in memory, and its vault.
type rig struct {
	t      *testing.T
	site   *fake.Site
	store  blob.Store
	key    *age.X25519Identity
	dir    string
	cycler *Cycler
	lease  *vault.Lease
	group  dr.Group
	random *rand.ChaCha8

	partBytes int64 // of seeds; 0 for the usual
}

func newRig(t *testing.T, store blob.Store) *rig {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, site: fake.New("east"), store: store, key: key, dir: memoryDir(t), random: rand.NewChaCha8([32]byte{7})}
	r.group = dr.Group{Name: "shop", Site: "east", Machines: []dr.MachinePolicy{{Name: "db"}, {Name: "web", Order: 1}}}
	for _, id := range []dr.DiskID{diskDB, diskWeb} {
		r.site.AddMachine(dr.Machine{Name: id.Machine, Power: dr.PowerOn, Disks: []dr.Disk{{Name: id.Disk, Size: diskSize}}})
	}
	if err := vault.Create(t.Context(), store, vault.CreateOptions{Recipients: []string{key.Recipient().String()}}); err != nil {
		t.Fatal(err)
	}
	r.cycler = r.newCycler(key)
	r.lease, err = r.cycler.Vault.Acquire(t.Context(), "shop", "east", "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// memoryDir is a folder in memory where the machine has one: thousands of cycles sync their hash maps, and what a power
// failure leaves of those is the hash map's own test.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "understudy-replicate-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newCycler opens the vault as a controller that was just started does.
func (r *rig) newCycler(keys ...age.Identity) *Cycler {
	r.t.Helper()
	v, err := vault.Open(r.t.Context(), r.store, vault.Options{Identities: keys, Now: time.Now, Logger: quiet})
	if err != nil {
		r.t.Fatal(err)
	}
	return &Cycler{Driver: r.site, Vault: v, Dir: r.dir, Now: time.Now, Logger: quiet}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func (r *rig) write(id dr.DiskID, off int64, n int) {
	p := make([]byte, n)
	r.random.Read(p)
	r.site.WriteDisk(id, off, p)
}

func (r *rig) cycle() Result {
	r.t.Helper()
	res, err := r.cycler.Cycle(r.t.Context(), r.lease, r.group, CycleOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// check compares the vault's newest point with the disks as they are.
func (r *rig) check() {
	r.t.Helper()
	v := r.newCycler(r.key).Vault
	head, err := v.Head(r.t.Context(), "shop")
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := v.OpenPoint(r.t.Context(), "shop", head.Point.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Close()
	for _, id := range []dr.DiskID{diskDB, diskWeb} {
		d, err := p.Disk(id)
		if err != nil {
			r.t.Fatal(err)
		}
		got := make([]byte, d.Size())
		if _, err := d.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
			r.t.Fatal(err)
		}
		if !bytes.Equal(got, r.site.ReadDisk(id, 0, len(got))) {
			r.t.Errorf("point %s: %s differs from the disk", head.Point.ID, id)
		}
	}
}

func TestSeedDeltaUnchanged(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 1<<20, 300_000)
	r.write(diskWeb, 0, 5000)
	if res := r.cycle(); res.Kind != KindSeed || res.Point == nil {
		t.Fatalf("first cycle: %+v", res)
	}
	r.check()
	r.write(diskDB, 8192, 100)
	res := r.cycle()
	if res.Kind != KindDelta || res.Changed != dr.BlockSize || res.Reason != "" {
		t.Errorf("one small write: %+v", res)
	}
	r.check()
	point := res.Point.ID
	before := res.Instant
	if res = r.cycle(); res.Kind != KindUnchanged || res.Point != nil || !res.Instant.After(before) {
		t.Errorf("nothing written: %+v", res)
	}
	r.site.WriteDisk(diskDB, 8192, r.site.ReadDisk(diskDB, 8192, 100))
	if res = r.cycle(); res.Kind != KindUnchanged {
		t.Errorf("the same bytes written again: %+v", res)
	}
	r.site.WriteDisk(diskDB, 1<<20, make([]byte, 300_000))
	if res = r.cycle(); res.Kind != KindDelta || res.Stored > 8192 {
		t.Errorf("zeros written: %+v", res)
	}
	r.check()
	if res.Point.ID == point {
		t.Error("a point's name was used again")
	}
}

func TestChangedDescriptionMakesAPoint(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 0, 4096)
	r.cycle()
	content := r.site.ReadDisk(diskDB, 0, diskSize)
	r.site.AddMachine(dr.Machine{Name: "db", CPUs: 8, Power: dr.PowerOn, Disks: []dr.Disk{{Name: "data", Size: diskSize}}})
	r.site.WriteDisk(diskDB, 0, content)
	if res := r.cycle(); res.Point == nil || res.Changed != 0 {
		t.Errorf("a machine with more processors: %+v", res)
	}
}

func TestLostTrackingSendsTheDifferenceOnly(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 0, 1<<20)
	r.cycle()
	r.write(diskDB, 64<<10, 4096)
	r.site.LoseTracking(diskDB)
	res := r.cycle()
	if res.Kind != KindResync || res.Reason == "" || res.Changed != dr.BlockSize {
		t.Errorf("lost tracking: %+v", res)
	}
	r.check()
}

func TestLostHashMaps(t *testing.T) {
	for name, tc := range map[string]struct {
		withKey bool
		kind    string
	}{
		"the vault can be read": {true, KindResync},
		"no key here":           {false, KindSeed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mem.New())
			r.write(diskDB, 0, 1<<20)
			r.cycle()
			r.write(diskDB, 0, 4096)
			r.site.WriteDisk(diskDB, 64<<10, make([]byte, 4096))
			if err := os.RemoveAll(filepath.Join(r.dir, "shop")); err != nil {
				t.Fatal(err)
			}
			if !tc.withKey {
				r.cycler = r.newCycler()
			}
			res := r.cycle()
			if res.Kind != tc.kind {
				t.Errorf("kind %s, want %s", res.Kind, tc.kind)
			}
			if tc.withKey && res.Changed != 2*dr.BlockSize {
				t.Errorf("%d bytes changed", res.Changed)
			}
			r.check()
		})
	}
}

func TestDiskGrows(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 0, 4096)
	r.cycle()
	r.site.ResizeDisk(diskDB, 2*diskSize)
	r.write(diskDB, diskSize+4096, 4096)
	r.cycle()
	r.check()
	r.write(diskDB, diskSize+8192, 4096)
	if res := r.cycle(); res.Changed != dr.BlockSize {
		t.Errorf("after growing: %+v", res)
	}
	r.check()
}

func TestSiteFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, op := range []fake.Op{fake.OpCapture, fake.OpChanges, fake.OpRead, fake.OpCommit, fake.OpAbort} {
		t.Run(string(op), func(t *testing.T) {
			r := newRig(t, mem.New())
			r.write(diskDB, 0, 1<<20)
			r.cycle()
			r.write(diskDB, 0, 8192)
			r.site.FailNext(op, boom)
			if op == fake.OpAbort {
				r.site.FailNext(fake.OpRead, boom)
			}
			_, err := r.cycler.Cycle(t.Context(), r.lease, r.group, CycleOptions{})
			if failed := err != nil; failed == (op == fake.OpCommit) {
				t.Fatalf("cycle: %v", err)
			}
			r.write(diskWeb, 0, 4096)
			r.cycle()
			r.check()
		})
	}
}

func TestCancelledCycleForgetsNothing(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 0, 1<<20)
	r.cycle()
	r.write(diskDB, 4096, 4096)
	ctx, cancel := context.WithCancel(t.Context())
	r.site.OnNext(fake.OpRead, cancel)
	if _, err := r.cycler.Cycle(ctx, r.lease, r.group, CycleOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled cycle: %v", err)
	}
	if res := r.cycle(); res.Kind != KindDelta || res.Changed != dr.BlockSize {
		t.Errorf("the cycle after: %+v", res)
	}
	r.check()
}

func TestDescribeAddsToMachines(t *testing.T) {
	r := newRig(t, mem.New())
	r.write(diskDB, 0, 4096)
	agent := dr.Extension{Name: "metrics", Version: "1", Status: dr.ExtensionHealthy, Heartbeat: time.Now()}
	r.cycler.Describe = func(machines []dr.Machine) []dr.Machine {
		machines[0].Extensions = []dr.Extension{agent}
		return machines
	}
	r.cycle()
	agent.Heartbeat = time.Now().Add(time.Minute)
	agent.Status, agent.Message = dr.ExtensionUnresponsive, "late"
	if res := r.cycle(); res.Kind != KindUnchanged {
		t.Errorf("a heartbeat made a point: %+v", res)
	}
	agent.Version = "2"
	res := r.cycle()
	if res.Point == nil {
		t.Fatalf("a new version made no point: %+v", res)
	}
	p, err := r.cycler.Vault.OpenPoint(t.Context(), "shop", res.Point.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if e := p.Machines()[0].Extensions; len(e) != 1 || e[0].Version != "2" {
		t.Errorf("the point describes %+v", e)
	}
}
