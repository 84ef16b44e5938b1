package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/demo/guest"
	"understudy/internal/recovery/drill"
)

// lanGuest defines a machine on the network lan of a site, with a port on the host.
func (r *rig) lanGuest(t *testing.T, site, name, role, ip string, port int) {
	t.Helper()
	image := filepath.Join(r.dir, site, "images", name+".qcow2")
	if err := guest.EmptyDisk(t.Context(), image, "qcow2", dataSize); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`name: %s
cpus: 1
memory: 160MiB
boot: {kernel: ../../east/images/vmlinuz, initrd: ../../east/images/initrd.gz, cmdline: "console=ttyS0 quiet us.role=%s us.ip=%s/24"}
disks: [{name: data, path: ../images/%s.qcow2, format: qcow2}]
nics: [{network: lan}, {network: access, forwards: [{guestPort: %d}]}]
agent: true
`, name, role, ip, name, port)
	if err := os.WriteFile(filepath.Join(r.dir, site, "machines", name+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// isolated is what a guest of the drill tries from inside, with every right that it has there.
const isolated = `name: isolated
group: booth
variables: {host: "%s", port: "%d"}
stages:
  - {name: database, machines: [booth-db]}
  - {name: web, machines: [booth-web]}
after:
  - name: nothing but each other
    timeout: 90s
    guest:
      machine: booth-web
      command:
        - /bin/sh
        - -c
        - |
          ping -c 1 -W 10 10.77.0.10 >/dev/null || { echo "the database of the drill is not reached"; exit 1; }
          if ping -c 2 -W 2 10.77.0.99 >/dev/null; then echo "a machine outside is reached"; exit 2; fi
          ip route add default via 10.0.2.2 2>/dev/null
          for address in 10.0.2.2 ${var.host}; do
            if nc -w 3 "$address" ${var.port} </dev/null >/dev/null 2>&1; then echo "the host is reached at $address"; exit 3; fi
          done
          echo isolated
`

// TestDrill rehearses a group of two beside machines of the same network and addresses range at the same site. The
// guests of the drill reach each other and nothing else, replication goes on, and nothing is left but the evidence.
func TestDrill(t *testing.T) {
	r := newRig(t)
	for _, dir := range []string{"west/machines", "west/images"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// What lives at west: a database and a web server that asks it over the network of the same name.
	r.lanGuest(t, "west", "outsider", "db", "10.77.0.99", 7000)
	r.lanGuest(t, "west", "witness", "web us.db=10.77.0.99:7000", "10.77.0.98", 80)
	r.lanGuest(t, "east", "booth-db", "db", "10.77.0.10", 7000)
	r.lanGuest(t, "east", "booth-web", "web", "10.77.0.11", 80)
	r.main.configure(t, r.vault, map[string]string{"east": filepath.Join(r.dir, "east"), "west": filepath.Join(r.dir, "west")})
	for _, m := range []string{"outsider", "witness"} {
		if err := r.main.PowerMachine(t.Context(), "west", m, wire.Power{Action: "start"}); err != nil {
			t.Fatal(err)
		}
	}
	probe := func(kind string, port int) *wire.Probe {
		return &wire.Probe{Kind: kind, Port: port, Path: "/", Timeout: wire.Duration(150 * time.Second)}
	}
	// The machines at east are off: that they are protected is all that a drill needs.
	if _, err := r.main.Protect(t.Context(), wire.Group{Name: "booth", Site: "east", Target: "west", Vault: "main", Policy: "fast", Machines: []wire.GroupMachine{
		{Name: "booth-db", Order: 1, Probe: probe("tcp", 7000)}, {Name: "booth-web", Order: 2, Probe: probe("http", 80)}}}); err != nil {
		t.Fatal(err)
	}
	host, port, knocks := listenEverywhere(t)
	file := filepath.Join(r.dir, "isolated.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, isolated, host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	r.main.must(t, "plan", "apply", file)
	r.seeded(t, "booth")
	before := processes(t)

	run, err := r.main.RunDrill(t.Context(), "booth", wire.DrillRequest{Plan: "isolated"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if run, err := r.main.ShowRun(context.Background(), run.ID); err == nil {
				t.Logf("%+v", run)
			}
			for _, name := range []string{"01-booth-db-console.txt", "02-booth-web-console.txt"} {
				text, err := r.main.Evidence(context.Background(), run.ID, name)
				t.Logf("%s: %v\n%s", name, err, drill.Tail(text, 40))
			}
		}
	})
	run = r.follow(t, run.ID, nil)
	if n := knocks.Load(); n != 0 {
		t.Errorf("the host was reached %d times", n)
	}
	// The machine that must not be reached was there to be reached, on a network of that name.
	eventually(t, time.Minute, "the page of the witness", func() error {
		resp, err := http.Get("http://" + r.address(t, "west", "witness", 80) + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	})

	r.checkReport(t, run.ID)
	// A switch ends by itself soon after the last machine has gone.
	eventually(t, time.Minute, "the end of the drill's processes", func() error {
		left := processes(t)
		maps.DeleteFunc(left, func(pid, line string) bool { return before[pid] != "" || !strings.Contains(line, r.dir) })
		if len(left) != 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	machines, err := r.main.ListMachines(t.Context(), "west")
	if err != nil || len(machines) != 2 {
		t.Errorf("at west: %+v %v", machines, err)
	}
	if st := r.status(t, "booth"); st.State != "protected" || st.Test != "" || st.ProvenAt == nil || *st.ProvenRTO <= 0 {
		t.Errorf("status %+v", st)
	}
}

// listenEverywhere listens on all addresses of the host and counts who comes.
func listenEverywhere(t *testing.T) (host string, port int, knocks *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	knocks = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			knocks.Add(1)
			c.Close()
		}
	}()
	host = "10.0.2.2"
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			host = n.IP.String()
		}
	}
	return host, l.Addr().(*net.TCPAddr).Port, knocks
}

// checkReport reads what the drill left.
func (r *rig) checkReport(t *testing.T, run string) {
	t.Helper()
	file := filepath.Join(r.dir, "report.json")
	r.main.must(t, "run", "report", run, "--out", file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rep drill.Report
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", rep.Summary)
	if rep.Verdict != drill.Passed || rep.Up() != 2 || rep.Cleaned.IsZero() || len(rep.Actions) != 1 || rep.Actions[0].Outcome != "done" {
		t.Errorf("report %+v", rep)
	}
	if rep.Lag == nil || rep.Lag.Instants < 2 || rep.Lag.Stood() || rep.Lag.Paused {
		t.Errorf("replication paused for the drill: %+v", rep.Lag)
	}
	kinds := map[drill.ItemKind]int{}
	for _, it := range rep.Evidence {
		switch {
		case it.Missing != "":
			t.Errorf("no %s of %s: %s", it.Kind, it.Machine, it.Missing)
		case it.Kind == drill.Screen:
			if m, err := png.Decode(bytes.NewReader(it.Data)); err != nil || m.Bounds().Dx() < 320 {
				t.Errorf("screen of %s: %v", it.Machine, err)
			}
		case !strings.Contains(string(it.Data), "understudy-guest: boot role="):
			t.Errorf("console of %s: %q", it.Machine, it.Data)
		}
		kinds[it.Kind]++
	}
	if kinds[drill.Screen] != 2 || kinds[drill.Console] != 2 {
		t.Errorf("evidence %v", kinds)
	}
	page := filepath.Join(r.dir, "report.html")
	r.main.must(t, "run", "report", run, "--out", page)
	html, err := os.ReadFile(page)
	if err != nil || strings.Count(string(html), `src="data:image/png;base64,`) != 2 {
		t.Errorf("%d bytes of report: %v", len(html), err)
	}
}
