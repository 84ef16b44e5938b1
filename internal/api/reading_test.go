package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site/fake"
	required "understudy/test/need"
)

// shopDisk is the disk that these tests read.
var shopDisk = dr.DiskID{Machine: "shop-m", Disk: "data"}

// readable is a world with a recovery point of two groups, shop and bank, and what is on the disk of shop.
func readable(t *testing.T) (*world, []byte) {
	t.Helper()
	// Cycles run by the clock, which nobody moves here.
	w := &world{t: t, dir: t.TempDir(), now: time.Now, sites: map[string]*fake.Site{}}
	w.open(Options{})
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.c.Serve(serving) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	admin, ctx := w.admin(), t.Context()
	if _, err := admin.AddVault(ctx, wire.Vault{Name: "main", URL: "file://" + t.TempDir() + "/v"}); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 48<<20)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 40 << 20 { // and zeros behind it
		content[i] = byte(r.Uint32())
	}
	for _, group := range []string{"shop", "bank"} {
		if _, err := admin.AddSite(ctx, wire.Site{Name: group + "-site", Provider: "fake"}); err != nil {
			t.Fatal(err)
		}
		w.site(group + "-site").AddMachine(dr.Machine{Name: group + "-m", Power: dr.PowerOn, Disks: []dr.Disk{{Name: "data", Size: int64(len(content))}}})
		if group == "shop" {
			w.site("shop-site").WriteDisk(shopDisk, 0, content)
		} else {
			w.site("bank-site").WriteDisk(dr.DiskID{Machine: "bank-m", Disk: "data"}, 0, []byte("secret"))
		}
		if _, err := admin.Protect(ctx, wire.Group{Name: group, Site: group + "-site", Vault: "main", Machines: []wire.GroupMachine{{Name: group + "-m"}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Sync(ctx, group, client.SyncQuery{}); err != nil {
			t.Fatal(err)
		}
	}
	return w, content
}

// client is a client of a new token with a role in a scope.
func (w *world) client(name, role, scope string) *client.Client {
	w.t.Helper()
	v, err := w.admin().AddToken(w.t.Context(), wire.TokenRequest{Name: name, Grants: []wire.RoleGrant{{Role: role, Scope: scope}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return client.New(w.url, v.Secret)
}

func forbiddenTo(t *testing.T, what string, err error) {
	t.Helper()
	if dr.KindOf(err) != dr.KindForbidden {
		t.Errorf("%s: %v", what, err)
	}
}

func TestDownload(t *testing.T) {
	w, content := readable(t)
	ctx := t.Context()
	op := w.client("so", "operator", "group:shop")

	machines, err := op.ListPointMachines(ctx, "shop", "latest")
	if err != nil || len(machines) != 1 || machines[0].Disks[0].Name != "data" {
		t.Fatalf("%+v %v", machines, err)
	}
	d, err := op.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", 0, "")
	if err != nil || d.Size != int64(len(content)) || d.Tag == "" {
		t.Fatalf("%+v %v", d, err)
	}
	// The first half, and then the rest of the same file.
	half := make([]byte, len(content)/2+7)
	if _, err := io.ReadFull(d, half); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := op.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", int64(len(half)), d.Tag)
	if err != nil || rest.Size != d.Size {
		t.Fatalf("%+v %v", rest, err)
	}
	tail, err := io.ReadAll(rest)
	if err != nil || !bytes.Equal(append(half, tail...), content) {
		t.Errorf("%d bytes: %v", len(half)+len(tail), err)
	}
	if _, err := op.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", 100, `"another"`); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("went on with another file: %v", err)
	}
	if _, err := op.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", 100, ""); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("went on with any file: %v", err)
	}

	// What is taken out is in the audit log, with how much of it. The end is recorded when the client has all of it.
	e := w.auditEntry("?object=group:shop", func(e wire.AuditEntry) bool { return e.Operation == opDownloadDisk && e.Result == "done" })
	if e.Actor == "" || !strings.Contains(e.Detail, "disk shop-m/data as raw") || !strings.Contains(e.Detail, " of ") {
		t.Errorf("%+v", e)
	}

	for name, who := range map[string]*client.Client{
		"viewer": w.client("v", "viewer", "*"), "drill runner": w.client("d", "drill-runner", "*"), "approver": w.client("a", "failover-approver", "*"),
		"operator of another group": w.client("bo", "operator", "group:bank"), "operator of another site": w.client("bs", "operator", "site:bank-site"),
	} {
		_, err := who.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", 0, "")
		forbiddenTo(t, name, err)
		_, err = who.MountDisk(ctx, "shop", "latest", wire.Mount{Machine: "shop-m", Disk: "data"})
		forbiddenTo(t, name, err)
	}
	if _, err := op.DownloadDisk(ctx, "shop", "latest", dr.DiskID{Machine: "shop-m", Disk: "other"}, "raw", 0, ""); dr.KindOf(err) != dr.KindNotFound || !strings.Contains(dr.Hint(err), "shop-m/data") {
		t.Errorf("%v, hint %q", err, dr.Hint(err))
	}
	if _, err := op.DownloadDisk(ctx, "shop", "9-9", shopDisk, "raw", 0, ""); dr.KindOf(err) != dr.KindNotFound {
		t.Error(err)
	}
	if left, err := w.admin().AllGrants(ctx, client.ListGrantsQuery{}); err != nil || len(left) != 0 {
		t.Errorf("grants are left: %+v %v", left, err)
	}
}

// auditEntry waits for an entry of the audit log: the end of an answer is recorded after the client has it.
func (w *world) auditEntry(query string, is func(wire.AuditEntry) bool) wire.AuditEntry {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, e := range w.audit(query) {
			if is(e) {
				return e
			}
		}
	}
	w.t.Fatal("the audit log lacks an entry")
	return wire.AuditEntry{}
}

// QEMU finds in the other formats what is on the disk, and they are as large as what is on it.
func TestDownloadFormats(t *testing.T) {
	required.Tool(t, "qemu-img")
	w, content := readable(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for format, driver := range map[string]string{"qcow2": "qcow2", "vhd": "vpc"} {
		d, err := w.admin().DownloadDisk(t.Context(), "shop", "latest", shopDisk, format, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(d)
		if err != nil || int64(len(data)) != d.Size || len(data) > 41<<20 {
			t.Fatalf("%s: %d bytes of %d: %v", format, len(data), d.Size, err)
		}
		file := filepath.Join(dir, format)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "qemu-img", "compare", "-f", driver, "-F", "raw", file, plain).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", format, err, out)
		}
	}
}

// A browser downloads by its session, under a name that says what it is.
func TestDownloadByBrowser(t *testing.T) {
	w, content := readable(t)
	b := w.boot()
	resp := w.ask(b, "GET", "/v1/groups/shop/points/latest/disks/shop-m/data?format=raw", nil, nil, "Range", "bytes=10-29")
	wantStatus(t, resp, 206)
	if got := resp.Header.Get("Content-Disposition"); got != "attachment; filename=shop-m-data-1-1.raw" {
		t.Error(got)
	}
	if got := resp.Header.Get("Content-Range"); got != "bytes 10-29/50331648" {
		t.Errorf("%s of %d", got, len(content))
	}
	// Of several ranges the whole file is the answer.
	resp = w.ask(b, "HEAD", "/v1/groups/shop/points/latest/disks/shop-m/data?format=raw", nil, nil, "Range", "bytes=0-0,20000000-20000000,0-0")
	wantStatus(t, resp, 200)
	if resp.ContentLength != int64(len(content)) {
		t.Errorf("%d bytes", resp.ContentLength)
	}
}

// A download is by a grant, whose end cuts it.
func TestDownloadRevoked(t *testing.T) {
	w, content := readable(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op, bank := w.client("so", "operator", "group:shop"), w.client("bo", "operator", "group:bank")
	d, err := op.DownloadDisk(ctx, "shop", "latest", shopDisk, "raw", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.ReadFull(d, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	// What is being taken out is known before the end of it is, which there is none of when the controller dies.
	begun := w.auditEntry("?object=group:shop", func(e wire.AuditEntry) bool { return e.Operation == opDownloadDisk && e.Result == "begun" })
	if begun.Detail != "point latest, disk shop-m/data" {
		t.Errorf("%+v", begun)
	}
	grants, err := op.AllGrants(ctx, client.ListGrantsQuery{})
	if err != nil || len(grants) != 1 || grants[0].Disk != "shop@1-1/shop-m/data" || grants[0].By == "" || grants[0].Run != "" {
		t.Fatalf("%+v %v", grants, err)
	}
	if others, err := bank.AllGrants(ctx, client.ListGrantsQuery{}); err != nil || len(others) != 0 {
		t.Errorf("grants of another group: %+v %v", others, err)
	}
	forbiddenTo(t, "end the grant of another group", bank.RevokeGrant(ctx, grants[0].ID))
	forbiddenTo(t, "end a grant as a viewer", w.client("v", "viewer", "*").RevokeGrant(ctx, grants[0].ID))
	if err := op.RevokeGrant(ctx, grants[0].ID); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, d)
	if err == nil || n >= int64(len(content)-4096) {
		t.Errorf("%d bytes came after the end of the grant: %v", n, err)
	}
	e := w.auditEntry("?object=group:shop", func(e wire.AuditEntry) bool { return e.Operation == opDownloadDisk && e.Result == "failed" })
	if !strings.Contains(e.Detail, "revoked by") {
		t.Errorf("%+v", e)
	}
}

func TestMount(t *testing.T) {
	w, content := readable(t)
	ctx := t.Context()
	op := w.client("so", "operator", "group:shop")
	in := wire.Mount{Machine: "shop-m", Disk: "data", For: wire.Duration(2 * time.Hour)}
	m, err := op.MountDisk(ctx, "shop", "latest", in)
	if err != nil || m.Point != "1-1" || m.Size != int64(len(content)) || m.Socket == "" || !strings.Contains(m.URI, m.Export) {
		t.Fatalf("%+v %v", m, err)
	}
	if got := m.Expires.Sub(w.now()); got > 2*time.Hour || got < 2*time.Hour-time.Minute {
		t.Errorf("lasts %s", got)
	}
	c, err := nbd.Dial(ctx, m.URI, nbd.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := make([]byte, 100_000)
	if _, err := c.ReadAt(p, 12345); err != nil || !bytes.Equal(p, content[12345:12345+len(p)]) {
		t.Errorf("other bytes, %v", err)
	}
	if _, err := c.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a recovery point was written to")
	}
	// The answer holds a secret and is kept nowhere.
	var again wire.Mounted
	for range 2 {
		resp := w.ask(http.DefaultClient, "POST", "/v1/groups/shop/points/latest/mounts", in, &again, "Authorization", "Bearer "+w.file("token"), "Idempotency-Key", "k")
		wantStatus(t, resp, 200)
		if resp.Header.Get("Idempotency-Replayed") != "" {
			t.Error("a token was kept and given again")
		}
	}
	if err := op.RevokeGrant(ctx, m.Grant); err != nil {
		t.Fatal(err)
	}
	if _, err := nbd.Dial(ctx, m.URI, nbd.DialOptions{}); err == nil {
		t.Error("a grant that was revoked was served")
	}
	for _, bad := range []time.Duration{time.Second, 25 * time.Hour} {
		in.For = wire.Duration(bad)
		if _, err := op.MountDisk(ctx, "shop", "latest", in); dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
