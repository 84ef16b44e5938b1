package azure_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/internal/site/sitetest"
	"understudy/test/azsim/sim"
)

var (
	_ site.Driver        = (*azure.Site)(nil)
	_ site.Commander     = (*azure.Site)(nil)
	_ site.ConsoleReader = (*azure.Site)(nil)
	_ site.Screenshoter  = (*azure.Site)(nil)
	_ site.DiskOpener    = (*azure.Site)(nil)
	_ site.Preserver     = (*azure.Site)(nil)
	_ site.Forgetter     = (*azure.Site)(nil)
	_ site.Extender      = (*azure.Site)(nil)
)

// start starts a simulated cloud with the shop in it.
func start(t *testing.T, o sim.Options) *sim.Sim {
	t.Helper()
	s := sim.Start(t, o)
	for k, v := range s.Env() {
		t.Setenv(k, v)
	}
	if err := s.Shop(); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a resource group of it as a site.
func open(t testing.TB, s *sim.Sim, p sim.Place, dir string) *azure.Site {
	t.Helper()
	c := s.Config(p.Region, p.Group)
	d, err := azure.New(azure.Config{Name: p.Group, Dir: dir, Subscription: c["subscription"], Tenant: c["tenant"], Location: p.Region, Group: p.Group, Cloud: "custom",
		Endpoint: c["endpoint"], Authority: c["authority"], Audience: c["audience"], CA: c["ca"], Networks: map[string]string{"": "lan/default"},
		Workspace: "shop", LogEndpoint: s.URL(), Poll: 5 * time.Millisecond,
		Rules: map[string]string{"logs-" + sim.ShopEast.Region: "logs-" + p.Region, "logs": "logs"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestConformance(t *testing.T) {
	sitetest.Run(t, func(t *testing.T) *sitetest.Harness {
		s := start(t, sim.Options{Polls: 1, RunCommand: shell})
		dir := t.TempDir()
		d := open(t, s, sim.ShopEast, dir)
		return &sitetest.Harness{
			Driver: d, Machine: "shop-web", Capture: true, Provision: true, Console: "login:",
			Write: func(t testing.TB, id dr.DiskID, off int64, p []byte) {
				guestWrites(t, s, d, id, off, p)
			},
			Source: source,
			Restart: func(t testing.TB) site.Driver {
				_ = d.Close()
				d = open(t, s, sim.ShopEast, dir)
				return d
			},
		}
	})
}

// shell runs what Run Command is asked to run, here.
func shell(_, script string) (stdout, stderr string, exit int) {
	cmd := exec.Command("sh", "-c", script)
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil {
		exit = 1
	}
	return out.String(), err.String(), exit
}

type device struct{ *bytes.Reader }

func (d device) Size() int64 { return d.Reader.Size() }

// guestWrites writes to a disk as the guest does.
func guestWrites(t testing.TB, s *sim.Sim, d site.Driver, id dr.DiskID, off int64, p []byte) {
	t.Helper()
	list, err := d.Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for _, one := range m.Disks {
			if m.Name == id.Machine && one.Name == id.Disk {
				if _, err := s.Disk(one.Path).WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	t.Fatalf("there is no disk %s", id)
}

// TestCommand is the suite's, without the programs beside each other: Run Command runs one at a time.
func TestCommand(t *testing.T) {
	s := start(t, sim.Options{RunCommand: shell})
	d := open(t, s, sim.ShopEast, t.TempDir())
	for _, tt := range []struct {
		site.Command
		want site.CommandResult
	}{
		{site.Command{Argv: []string{"true"}}, site.CommandResult{}},
		{site.Command{Argv: []string{"sh", "-c", "exit 7"}}, site.CommandResult{ExitCode: 7}},
		{site.Command{Argv: []string{"sh", "-c", "echo out; echo it\\'s >&2"}}, site.CommandResult{Stdout: []byte("out\n"), Stderr: []byte("it's\n")}},
		{site.Command{Argv: []string{"cat"}, Stdin: []byte("a\x00b\nc")}, site.CommandResult{Stdout: []byte("a\x00b\nc")}},
		{site.Command{Argv: []string{"sh", "-c", "echo $GREETING, $1", "sh", "two words"}, Env: []string{"GREETING=hello there"}}, site.CommandResult{Stdout: []byte("hello there, two words\n")}},
		{site.Command{Argv: []string{"head", "-c", "5000", "/dev/zero"}}, site.CommandResult{Stdout: make([]byte, 1024), Truncated: true}},
	} {
		got, err := d.Command(t.Context(), "shop-web", tt.Command)
		if err != nil || got.ExitCode != tt.want.ExitCode || !bytes.Equal(got.Stdout, tt.want.Stdout) || !bytes.Equal(got.Stderr, tt.want.Stderr) || got.Truncated != tt.want.Truncated {
			t.Errorf("%q: %d %q %q %v: %v", tt.Argv, got.ExitCode, got.Stdout, got.Stderr, got.Truncated, err)
		}
	}
	for _, argv := range [][]string{nil, {"/no/such/program"}} {
		if _, err := d.Command(t.Context(), "shop-web", site.Command{Argv: argv}); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("program %q: %v", argv, err)
		}
	}
}

// source serves content by NBD.
func source(t testing.TB, content []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := nbd.NewServer(nbd.ServerOptions{})
	if err := server.Add(nbd.Export{Name: "content", Device: device{bytes.NewReader(content)}, ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return nbd.URI(socket, "content")
}
