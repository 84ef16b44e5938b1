package recovery_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/preflight"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/test/need"
)

// abroad is a site whose hardware is another.
type abroad struct{ site.Driver }

func (abroad) Platform() site.Platform {
	return site.Platform{Provider: "cloud", Hardware: "the cloud's", Storage: []string{"cloud_disk"}, Network: []string{"cloud_net"}, Interfaces: []string{"eth0"}, Console: "ttyS0"}
}

// installed is a small disk with the files of a Linux that is not ready for anything.
func installed(t *testing.T) []byte {
	need.Tool(t, "mke2fs")
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	must(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("ID=debian\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/fstab"), []byte("/dev/vda1 / ext4 defaults 0 1\n"), 0o644))
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext2", "-E", "root_owner=0:0", "-d", dir, file, "512K").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	must(t, err)
	return data
}

// TestPreflight looks into the disks of a recovery point, and of a stopped machine, for a site of another provider.
func TestPreflight(t *testing.T) {
	w := newWorld(t)
	disk := installed(t)
	w.east.AddMachine(dr.Machine{Name: "web", CPUs: 1, Disks: []dr.Disk{{Name: "data", Size: int64(len(disk))}}})
	w.east.WriteDisk(dr.DiskID{Machine: "web", Disk: "data"}, 0, disk)
	must(t, w.sync())
	w.wrap = func(name string, d site.Driver) site.Driver {
		if name == "west" {
			return abroad{d}
		}
		return d
	}
	w.open()
	defer w.close()
	byName := func(checks []preflight.Check, machine string) map[string]preflight.State {
		out := map[string]preflight.State{}
		for _, c := range checks {
			if c.Machine == machine {
				out[c.Name] = c.State
			}
		}
		return out
	}
	p, err := w.rec.Preflight(t.Context(), recovery.PreflightQuery{Group: "shop"})
	must(t, err)
	web := byName(p.Checks, "web")
	if web[preflight.CheckBoot] != preflight.Failure || web[preflight.CheckFstab] != preflight.Failure || web[preflight.CheckSystem] != preflight.OK || web[preflight.CheckStorage] != preflight.Unknown {
		t.Errorf("web: %+v", p.Checks)
	}
	if db := byName(p.Checks, "db"); db[preflight.CheckSystem] != preflight.Unknown || p.Point.ID == "" || p.Target != "west" {
		t.Errorf("db: %+v", p)
	}
	v, err := w.rec.Preview(t.Context(), recovery.Request{Kind: recovery.KindTest, Group: "shop"})
	must(t, err)
	if len(v.Checks) != len(p.Checks) {
		t.Errorf("the preview has %d checks, want %d", len(v.Checks), len(p.Checks))
	}
	p, err = w.rec.Preflight(t.Context(), recovery.PreflightQuery{Site: "east", Machine: "web", Target: "west"})
	if err != nil || byName(p.Checks, "web")[preflight.CheckFstab] != preflight.Failure {
		t.Errorf("stopped: %+v %v", p, err)
	}
	p, err = w.rec.Preflight(t.Context(), recovery.PreflightQuery{Site: "east", Machine: "db", Target: "west"})
	if err != nil || preflight.Worst(p.Checks) != preflight.Unknown {
		t.Errorf("running: %+v %v", p, err)
	}
	for _, q := range []recovery.PreflightQuery{{Group: "shop", Machine: "nobody"}, {Group: "shop", Target: "east"}, {Site: "east", Machine: "nobody", Target: "west"}, {Group: "nothing"}} {
		if p, err := w.rec.Preflight(t.Context(), q); err == nil || dr.Hint(err) == "" {
			t.Errorf("%+v: %+v %v", q, p, err)
		}
	}
	w.wrap = nil
	if v, err = w.rec.Preview(t.Context(), recovery.Request{Kind: recovery.KindTest, Group: "shop"}); err != nil || len(v.Checks) != 0 {
		t.Errorf("to its own provider: %+v %v", v.Checks, err)
	}
}
