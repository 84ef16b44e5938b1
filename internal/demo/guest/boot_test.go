package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/demo/guest/shop"
	"understudy/test/need"
)

// A vm is a QEMU process of the test; its serial lines are read until it ends.
type vm struct {
	cmd    *exec.Cmd
	name   string
	start  time.Time
	mu     sync.Mutex
	lines  []string
	more   chan struct{}
	exited chan struct{}
}

func boot(t *testing.T, name, role string, args ...string) *vm {
	t.Helper()
	dir := need.Guest(t)
	base := []string{"-accel", "tcg", "-m", "192", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(dir, Kernel), "-initrd", filepath.Join(dir, Initrd),
		"-append", "console=ttyS0 quiet panic=-1 " + role, "-serial", "stdio", "-device", "virtio-rng-pci"}
	m := &vm{cmd: exec.Command("qemu-system-x86_64", append(base, args...)...), name: name, start: time.Now(),
		more: make(chan struct{}), exited: make(chan struct{})}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.exited)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.mu.Lock()
			m.lines = append(m.lines, strings.TrimSpace(s.Text()))
			close(m.more)
			m.more = make(chan struct{})
			m.mu.Unlock()
		}
		m.cmd.Wait()
	}()
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("serial of %s:\n%s", name, strings.Join(m.lines, "\n"))
		}
	})
	return m
}

func (m *vm) kill() {
	m.cmd.Process.Kill()
	<-m.exited
}

// wait returns the first serial line that holds text.
func (m *vm) wait(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for seen := 0; ; {
		m.mu.Lock()
		lines, more := m.lines, m.more
		m.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if strings.Contains(lines[seen], text) {
				t.Logf("%s after %.1fs: %s", m.name, time.Since(m.start).Seconds(), lines[seen])
				return lines[seen]
			}
		}
		select {
		case <-more:
		case <-m.exited:
			t.Fatalf("%s ended before it said %q", m.name, text)
		case <-timeout:
			t.Fatalf("%s does not say %q", m.name, text)
		}
	}
}

func disk(t *testing.T, name string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := EmptyDisk(t.Context(), path, "raw", size); err != nil {
		t.Fatal(err)
	}
	return path
}

func drive(id, path string) []string {
	return []string{"-blockdev", fmt.Sprintf(`{"driver":"raw","node-name":"%s","discard":"unmap","file":{"driver":"file","filename":"%s"}}`, id, path),
		"-device", "virtio-blk-pci,drive=" + id}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func access(host, guestPort int) []string {
	return []string{"-netdev", fmt.Sprintf("user,id=access,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d", host, guestPort),
		"-device", "virtio-net-pci,netdev=access,romfile="}
}

func TestShopSurvivesPowerLoss(t *testing.T) {
	need.Guest(t)
	lan := filepath.Join(t.TempDir(), "lan.sock")
	server := []string{"-netdev", "stream,id=lan,server=on,addr.type=unix,addr.path=" + lan, "-device", "virtio-net-pci,netdev=lan,romfile="}
	client := []string{"-netdev", "stream,id=lan,server=off,addr.type=unix,addr.path=" + lan, "-device", "virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:00:00:02"}
	dbDisk, dbPort, webPort := disk(t, "db.img", 256<<20), freePort(t), freePort(t)
	bootDB := func(net []string) *vm {
		return boot(t, "db", "us.role=db us.ip=10.77.0.10/24 us.interval=10ms", append(append(drive("data", dbDisk), net...), access(dbPort, shop.Port)...)...)
	}
	db := bootDB(server)
	db.wait(t, "data /dev/vda formatted")
	db.wait(t, "role=db ready records=0")
	web := boot(t, "web", "us.role=web us.ip=10.77.0.11/24", append(append(drive("data", disk(t, "web.img", 64<<20)), client...), access(webPort, 80)...)...)
	web.wait(t, "role=web ready")

	addr := fmt.Sprintf("127.0.0.1:%d", dbPort)
	page := fmt.Sprintf("http://127.0.0.1:%d/", webPort)
	if status, body := get(t, page); status != 200 || !strings.Contains(body, `"record":`) {
		t.Fatalf("web: %d %s", status, body)
	}
	enough := errors.New("enough")
	var acked shop.Ack
	first := uint64(0)
	err := shop.Watch(t.Context(), addr, func(a shop.Ack) error {
		if first == 0 {
			first = a.Number
		}
		if acked = a; a.Number >= first+100 {
			db.cmd.Process.Kill() // in mid-write
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	<-db.exited
	if status, body := get(t, page); status != 503 {
		t.Fatalf("web without its database: %d %s", status, body)
	}

	again := strings.Replace(server[1], lan, lan+"2", 1)
	db = bootDB([]string{"-netdev", again, "-device", server[3]})
	line := db.wait(t, "role=db ")
	rep, err := shop.Check(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("acknowledged %d; after power loss: %s; check %+v", acked.Number, line, rep)
	if !rep.OK() || rep.Fsck != "clean" || rep.Last < acked.Number {
		t.Fatalf("acknowledged %d, recovered %+v", acked.Number, rep)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAgentAndPowerButton(t *testing.T) {
	need.Guest(t)
	dir := t.TempDir()
	agent, monitor := filepath.Join(dir, "qga.sock"), filepath.Join(dir, "qmp.sock")
	args := append(drive("data", disk(t, "data.img", 64<<20)), drive("raw", disk(t, "raw.img", 8<<20))...)
	m := boot(t, "write", "us.role=write us.interval=5ms", append(args,
		"-device", "virtio-serial-pci", "-chardev", "socket,id=qga,server=on,wait=off,path="+agent,
		"-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0", "-qmp", "unix:"+monitor+",server=on,wait=off")...)
	m.wait(t, "role=write ready")

	conn, err := net.Dial("unix", agent)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answers := json.NewDecoder(conn)
	ask := func(command, want string) {
		t.Helper()
		fmt.Fprintf(conn, `{"execute":"%s"}`+"\n", command)
		var reply struct {
			Return json.RawMessage
			Error  json.RawMessage
		}
		if err := answers.Decode(&reply); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if reply.Error != nil || !strings.Contains(string(reply.Return), want) {
			t.Fatalf("%s: %s %s", command, reply.Return, reply.Error)
		}
	}
	ask("guest-ping", "{}")
	ask("guest-fsfreeze-freeze", "1")
	ask("guest-fsfreeze-thaw", "1")

	qmp, err := net.Dial("unix", monitor)
	if err != nil {
		t.Fatal(err)
	}
	defer qmp.Close()
	fmt.Fprintln(qmp, `{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}`)
	m.wait(t, "understudy-guest: shutdown")
	select {
	case <-m.exited:
	case <-time.After(time.Minute):
		t.Fatal("the power button does not end the guest")
	}
	if blank(t, args[len(args)-3]) {
		t.Fatal("nothing was written to the raw disk")
	}
}

// blank reports whether the disk in a -blockdev argument reads as zeros.
func blank(t *testing.T, blockdev string) bool {
	t.Helper()
	var def struct{ File struct{ Filename string } }
	if err := json.Unmarshal([]byte(blockdev), &def); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(def.File.Filename)
	if err != nil {
		t.Fatal(err)
	}
	return len(strings.Trim(string(b), "\x00")) == 0
}
