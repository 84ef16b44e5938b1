package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

func (abroad) RehearseProvision(_ context.Context, q site.ProvisionRequest, start bool) ([]site.ProviderCall, error) {
	return []site.ProviderCall{{Method: "PUT", Path: "/" + q.Machine.Name, Body: fmt.Sprintf("%s %s %v", q.Owner, q.Isolation, start)}}, nil
}

func (abroad) RehearseFence(_ context.Context, machine string) ([]site.ProviderCall, error) {
	return []site.ProviderCall{{Method: "POST", Path: "/" + machine + "/hold"}}, nil
}

func (abroad) RehearseCopy(context.Context, site.CopyRequest, bool) ([]site.ProviderCall, error) {
	return nil, errors.New("not here")
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

// TestPreviewCalls: what holds the source comes before what makes the machines of the target, in their order.
func TestPreviewCalls(t *testing.T) {
	w := newWorld(t)
	w.wrap = func(_ string, d site.Driver) site.Driver { return abroad{d} }
	w.open()
	defer w.close()
	for kind, want := range map[string]string{
		recovery.KindFailover: "east POST /db/hold , east POST /cache/hold , east POST /web/hold , west PUT /db RUN  true, west PUT /cache RUN  true, west PUT /web RUN  true",
		recovery.KindTest:     "west PUT /db-test-RUN RUN RUN true, west PUT /cache-test-RUN RUN RUN true, west PUT /web-test-RUN RUN RUN true",
	} {
		calls, err := w.rec.PreviewCalls(t.Context(), recovery.Request{Kind: kind, Group: "shop"})
		must(t, err)
		var got []string
		for _, c := range calls {
			got = append(got, c.Site+" "+c.Method+" "+c.Path+" "+c.Body)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s", kind, strings.Join(got, ", "))
		}
	}
	w.eastDown.Store(true)
	if calls, err := w.rec.PreviewCalls(t.Context(), recovery.Request{Kind: recovery.KindFailover, Group: "shop"}); err != nil || len(calls) != 3 {
		t.Errorf("with the source lost: %+v %v", calls, err)
	}
	if _, err := w.rec.PreviewCalls(t.Context(), recovery.Request{Kind: recovery.KindCommit, Group: "shop"}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("commit: %v", err)
	}
}

// TestPreviewClone says what would be made, whether it would start, and what the provider would be asked.
func TestPreviewClone(t *testing.T) {
	w := newWorld(t)
	w.wrap = func(name string, d site.Driver) site.Driver {
		if name == "west" {
			return struct {
				abroad
				site.DiskOpener
			}{abroad{d}, w.west}
		}
		return d
	}
	w.open()
	defer w.close()
	preview := func(c recovery.CloneSpec) (recovery.ClonePreview, error) {
		return w.rec.PreviewClone(t.Context(), recovery.Request{Kind: recovery.KindClone, Clone: &c})
	}
	v, err := preview(recovery.CloneSpec{Machine: "web", Group: "shop", To: "west", As: "web2", Start: true})
	if err != nil || v.Made.Name != "web2" || v.Point == "" || v.Bytes != diskSize || v.Direct || len(v.Checks) == 0 || len(v.Calls) != 1 || v.Calls[0].Body != "RUN  true" || v.Calls[0].Site != "west" {
		t.Errorf("of a point: %+v %v", v, err)
	}
	v, err = preview(recovery.CloneSpec{Machine: "web", Site: "east", To: "west", As: "web2"})
	if err != nil || v.Made.Name != "web2" || v.Point != "" || preflight.Worst(v.Checks) != preflight.Unknown {
		t.Errorf("of a machine that runs: %+v %v", v, err)
	}
	if v, err = preview(recovery.CloneSpec{Machine: "web", Group: "shop", To: "east", As: "web2"}); err != nil || len(v.Checks)+len(v.Calls) != 0 {
		t.Errorf("at home: %+v %v", v, err)
	}
	if _, err = preview(recovery.CloneSpec{Machine: "web", Site: "east"}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("a name that is taken: %v", err)
	}
	if there := power(t, w.west); len(there) != 0 {
		t.Errorf("it made %v", there)
	}
}
