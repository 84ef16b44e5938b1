// Package metrics is the metrics agent of the demonstration's guest: an extension. It posts heartbeats with the guest's
// load, memory and uptime to the collector of the site where it was installed, showing the token that it got there. Its
// settings lie on the data disk, so that it starts wherever a copy of the disk is started, and does its best to be heard:
// a collector that does not know it refuses its heartbeats, and it goes on trying in silence, as real agents do. What it
// says of itself, that it is running, is true and worth nothing.
package metrics

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Version of the agent.
const Version = "1.0.0"

// Name of the extension, and of the program in the guest.
const Name = "metrics-agent"

// An Agent is the agent of a folder.
type Agent struct {
	Dir     string   // its settings, on the data disk
	PIDFile string   // while it runs; not on the data disk
	Program []string // starts the agent: what Install runs
}

// settings are what an install left.
type settings struct {
	Version      string            `json:"version"`
	Machine      string            `json:"machine"`
	Settings     map[string]string `json:"settings,omitempty"`
	Endpoint     string            `json:"endpoint"`
	Registration string            `json:"registration"`
	Token        string            `json:"token"`
}

// call is what a handler gets on its standard input.
type call struct {
	Extension string            `json:"extension"`
	Machine   string            `json:"machine"`
	Settings  map[string]string `json:"settings"`
	Collector *struct {
		Endpoint     string `json:"endpoint"`
		Registration string `json:"registration"`
		Token        string `json:"token"`
	} `json:"collector"`
}

func (a Agent) file() string { return filepath.Join(a.Dir, "settings.json") }

func (a Agent) load() (s settings, err error) {
	b, err := os.ReadFile(a.file())
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// Handle carries out a handler: detect, status, install or remove.
func (a Agent) Handle(what string, in io.Reader, out io.Writer) error {
	switch what {
	case "detect":
		s, err := a.load()
		if errors.Is(err, fs.ErrNotExist) {
			return json.NewEncoder(out).Encode(map[string]any{"installed": false})
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(map[string]any{
			"installed": true, "version": s.Version, "settings": s.Settings, "registration": s.Registration,
		})
	case "status":
		status := "stopped"
		if a.pid() != 0 {
			status = "running"
		}
		return json.NewEncoder(out).Encode(map[string]string{"status": status})
	case "install":
		var c call
		if err := json.NewDecoder(in).Decode(&c); err != nil {
			return fmt.Errorf("read the call: %w", err)
		}
		return a.install(c)
	case "remove":
		if err := a.stop(); err != nil {
			return err
		}
		return os.RemoveAll(a.Dir)
	}
	return fmt.Errorf("unknown handler %q", what)
}

func (a Agent) install(c call) error {
	if c.Collector == nil || c.Collector.Endpoint == "" || c.Collector.Token == "" {
		return errors.New("the call names no collector")
	}
	if text := c.Settings["interval"]; text != "" {
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			return fmt.Errorf("setting interval: %q is no length of time", text)
		}
	}
	if err := a.stop(); err != nil {
		return err
	}
	b, err := json.Marshal(settings{
		Version: Version, Machine: c.Machine, Settings: c.Settings,
		Endpoint: c.Collector.Endpoint, Registration: c.Collector.Registration, Token: c.Collector.Token,
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return err
	}
	if err := replace(a.file(), b); err != nil {
		return err
	}
	return a.start()
}

// replace writes a file whole or not at all, durably.
func replace(name string, b []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// start starts the agent in the background, with nothing of the caller's.
func (a Agent) start() error {
	cmd := exec.Command(a.Program[0], a.Program[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	// It writes this itself, too; a status asked for at once must find it.
	return errors.Join(os.WriteFile(a.PIDFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600), cmd.Process.Release())
}

// pid is that of the agent that runs, or 0.
func (a Agent) pid() int {
	b, err := os.ReadFile(a.PIDFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	// Another process may have got the number since, and one that ended may not be buried.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte(Name)) {
		return 0
	}
	return pid
}

// stopTimeout is how long the agent may take to end.
const stopTimeout = 5 * time.Second

func (a Agent) stop() error {
	pid := a.pid()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the agent: %w", err)
	}
	for end := time.Now().Add(stopTimeout); a.pid() == pid; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("stop the agent: it does not end")
		}
	}
	return nil
}

// Times of heartbeats, until the collector's rules say otherwise.
const (
	firstInterval = 2 * time.Second
	minInterval   = 100 * time.Millisecond
	sendTimeout   = 5 * time.Second
)

// Run posts heartbeats until ctx ends. It says nothing, whatever becomes of them.
func (a Agent) Run(ctx context.Context) error {
	if err := os.WriteFile(a.PIDFile, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	s, err := a.load()
	if err != nil {
		return err
	}
	interval := firstInterval
	if d, err := time.ParseDuration(s.Settings["interval"]); err == nil {
		interval = d
	}
	for {
		if rule, err := s.send(ctx); err == nil && rule > 0 {
			interval = rule
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(interval, minInterval)):
		}
	}
}

// send posts one heartbeat over HTTP/1.0. It returns the shortest interval of the rules that the collector answers with.
// (net/http would double the size of the guest.)
func (s settings) send(ctx context.Context) (time.Duration, error) {
	host, ok := strings.CutPrefix(strings.TrimSuffix(s.Endpoint, "/"), "http://")
	if !ok || strings.Contains(host, "/") {
		return 0, fmt.Errorf("endpoint %q is no http://HOST:PORT", s.Endpoint)
	}
	address := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		address = net.JoinHostPort(host, "80")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	body, err := json.Marshal(map[string]any{"machine": s.Machine, "extension": Name, "version": s.Version, "metrics": measure()})
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(conn, "POST /v1/heartbeats HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		host, s.Token, len(body), body)
	if err != nil {
		return 0, err
	}
	r := bufio.NewReader(io.LimitReader(conn, 64<<10))
	status, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if fields := strings.Fields(status); len(fields) < 2 || fields[1] != "200" {
		return 0, errors.New("refused: " + strings.TrimSpace(status))
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	var answer struct {
		Rules []struct {
			Seconds float64 `json:"seconds"`
		} `json:"rules"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return 0, err
	}
	var shortest time.Duration
	for _, rule := range answer.Rules {
		if d := time.Duration(rule.Seconds * float64(time.Second)); d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return shortest, nil
}

// measure reads what the agent is for. What cannot be read is left out.
func measure() map[string]float64 {
	m := map[string]float64{}
	field := func(name, file, key string, n int) {
		b, err := os.ReadFile(file)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) > n && strings.HasPrefix(line, key) {
				if v, err := strconv.ParseFloat(fields[n], 64); err == nil {
					m[name] = v
				}
				return
			}
		}
	}
	field("load1", "/proc/loadavg", "", 0)
	field("uptimeSeconds", "/proc/uptime", "", 0)
	field("memAvailableKiB", "/proc/meminfo", "MemAvailable:", 1)
	return m
}
