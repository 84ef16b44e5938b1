package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/controller"
)

// apiTimeout bounds a request to the controller while nothing is wrong with it.
const apiTimeout = time.Minute

// stopFor is how long a controller is stopped.
const stopFor = 600 * time.Millisecond

// A process is one life of the controller.
type process struct {
	cmd    *exec.Cmd
	client *client.Client
	end    *endpoint
	ended  chan struct{} // closed when the process is dead
	gone   chan struct{} // closed when the sites know it, too
	once   sync.Once
	killed bool // on purpose; valid once ended
}

// start starts the controller and waits until it answers.
func (w *world) start() error {
	socket := filepath.Join(w.dir, "bridge")
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer l.Close()
	url := filepath.Join(w.dir, "data", controller.URLFile)
	if err := os.Remove(url); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	settings, err := json.Marshal(childSettings{Dir: w.dir, Socket: socket, Clock: time.Duration(w.ahead.Load())})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(w.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(self), ended: make(chan struct{}), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(settings))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.end = &endpoint{w: w, proc: p, calls: map[uint64]context.CancelFunc{}, handles: map[uint64]*handle{}}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	w.proc = p
	go func() {
		// An error is its exit status, which alive tells.
		_ = p.cmd.Wait()
		close(p.ended)
		p.end.end()
		close(p.gone)
	}()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		server := rpc.NewServer()
		if err := server.RegisterName("World", p.end); err != nil {
			panic(err)
		}
		server.ServeConn(conn)
	}()
	return p.ready(filepath.Join(w.dir, "data"))
}

// ready waits for the first answer. A controller that a fault kills meanwhile is no error.
func (p *process) ready(dir string) error {
	deadline := time.Now().Add(apiTimeout)
	for {
		url, err := os.ReadFile(filepath.Join(dir, controller.URLFile))
		var token []byte
		if err == nil {
			token, err = os.ReadFile(filepath.Join(dir, controller.TokenFile))
		}
		if err == nil {
			p.client = client.New(string(bytes.TrimSpace(url)), string(bytes.TrimSpace(token)))
			ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
			_, err = p.client.Version(ctx)
			stop()
		}
		switch {
		case err == nil:
			return nil
		case !p.alive():
			return errDied
		case time.Now().After(deadline):
			return fmt.Errorf("the controller does not answer: %w", err)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// errDied says that the controller died while it started.
var errDied = errors.New("the controller died while it started")

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the controller as a crash does.
func (p *process) kill() {
	p.once.Do(func() {
		p.killed = p.alive()
		_ = p.cmd.Process.Kill() // that it is dead is known by its end
	})
	<-p.ended
}

// stopFor stops the controller, and lets it go on later whatever happens meanwhile.
func (p *process) stopFor(d time.Duration) {
	if p.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return // dead
	}
	time.AfterFunc(d, func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) })
}

// restart replaces a controller that has ended, or ends it first: killed, or asked to.
func (w *world) restart(gently bool) error {
	if gently && w.proc.alive() {
		_ = w.proc.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.proc.ended:
		case <-time.After(apiTimeout):
			w.violate("the controller did not end within %s after it was asked to\n%s", apiTimeout, w.goroutines())
		}
	}
	w.proc.kill()
	<-w.proc.gone
	for tries := 0; ; tries++ {
		err := w.start()
		if err == nil || !errors.Is(err, errDied) || tries > 20 {
			return err
		}
		if !w.proc.killed {
			return fmt.Errorf("%w: %s", err, w.logTail())
		}
		<-w.proc.gone
	}
}

// logTail is the end of the controller's log.
func (w *world) logTail() string {
	text, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// goroutines is what the controller's goroutines do.
func (w *world) goroutines() string {
	text, err := w.proc.get("/chaos/goroutines?dump=1")
	if err != nil {
		return err.Error()
	}
	return text
}

func (p *process) get(path string) (string, error) {
	h := http.Client{Timeout: 5 * time.Second}
	resp, err := h.Get(p.client.URL() + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.String(), err
}

// step moves the clock of the whole world.
func (w *world) step(d time.Duration) error {
	ahead := w.ahead.Add(int64(d))
	req, err := http.NewRequest(http.MethodPut, w.proc.client.URL()+"/chaos/clock", strings.NewReader(fmt.Sprint(ahead)))
	if err != nil {
		return err
	}
	h := http.Client{Timeout: 5 * time.Second}
	resp, err := h.Do(req)
	if err != nil {
		return nil // dead: it starts with the new time
	}
	return resp.Body.Close()
}
