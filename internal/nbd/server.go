package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"understudy/internal/dr"
)

// ServerOptions are the limits of a Server. Zero values mean the defaults.
type ServerOptions struct {
	Logger *slog.Logger // default: discard
	// TLS, when set, is required of every client: nothing else is answered before STARTTLS.
	TLS *tls.Config
	// Resolve, when set, turns the name that a client asks for into the name of an export, or refuses it with an error.
	// Exports are not listed then, and the text of the error is sent to the client.
	Resolve func(name string) (export string, err error)

	Connections int           // at one time; default 64, more wait to be accepted
	InFlight    int           // requests worked on at one time per connection; default 16
	Memory      int64         // bytes of payload in memory at one time over all connections; default 64 MiB, at least 32 MiB
	Handshake   time.Duration // a client must have chosen its export within this; default 30 s
	Stall       time.Duration // a client that takes this long to send or accept a part of a message is cut off; default 2 min
	Drain       time.Duration // clients must accept the replies under way within this when their export goes; default 10 s
}

func (o ServerOptions) withDefaults() ServerOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Handshake, 30*time.Second)
	def(&o.Stall, 2*time.Minute)
	def(&o.Drain, 10*time.Second)
	if o.Connections <= 0 {
		o.Connections = 64
	}
	if o.InFlight <= 0 {
		o.InFlight = 16
	}
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	o.Memory = max(o.Memory, maxPayload)
	return o
}

// A Server hands out exports to NBD clients. Exports come and go while it serves.
type Server struct {
	o      ServerOptions
	memory *semaphore.Weighted
	slots  chan struct{} // one per connection
	pools  [5]sync.Pool  // of *[]byte

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	exports map[string]*export
	conns   map[*serverConn]struct{}
	wg      sync.WaitGroup // connections and Serve calls
	closed  bool
}

// export is an Export with the connections that use it.
type export struct {
	Export
	size int64

	// Guarded by the server's mu.
	conns map[*serverConn]struct{}
	gone  bool
	idle  chan struct{} // closed when gone and without connections
}

// NewServer returns a server without exports.
func NewServer(o ServerOptions) *Server {
	o = o.withDefaults()
	s := &Server{
		o:       o,
		memory:  semaphore.NewWeighted(o.Memory),
		slots:   make(chan struct{}, o.Connections),
		exports: map[string]*export{},
		conns:   map[*serverConn]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Add makes an export available. The device stays the caller's: it closes it after Remove or Close has returned.
func (s *Server) Add(e Export) error {
	if err := e.Validate(); err != nil {
		return dr.WithHint(fmt.Errorf("add export %q: %w", e.Name, err), dr.KindInvalid, "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("add export %q: %w", e.Name, net.ErrClosed)
	}
	if s.exports[e.Name] != nil {
		return dr.WithHint(fmt.Errorf("add export %q: there is one of this name", e.Name), dr.KindConflict, "")
	}
	s.exports[e.Name] = &export{Export: e, size: e.Device.Size(), conns: map[*serverConn]struct{}{}, idle: make(chan struct{})}
	return nil
}

// Remove takes an export away. Its clients get the answers to the requests under way, then they are disconnected.
// When Remove returns the device is not used any more. It does nothing if there is no such export.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	e := s.exports[name]
	if e == nil {
		s.mu.Unlock()
		return
	}
	delete(s.exports, name)
	e.gone = true
	if len(e.conns) == 0 {
		close(e.idle)
	}
	for c := range e.conns {
		c.drain()
	}
	s.mu.Unlock()
	<-e.idle
}

// Serve accepts clients until ctx ends, Close is called or the listener fails, and closes the listener. Unless the
// listener failed it returns nil. Clients are only disconnected by Remove and Close.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for pause := time.Millisecond; ; {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.Accept()
		if err == nil {
			pause = time.Millisecond
			s.serveConn(conn)
			continue
		}
		<-s.slots
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept NBD clients: %w", err)
		}
		// Too many open files and the like: they pass.
		s.o.Logger.Warn("nbd: accept failed", "err", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return nil
		}
	}
}

// serveConn serves a connection in a goroutine of its own, which frees the slot.
func (s *Server) serveConn(conn net.Conn) {
	c := newServerConn(s, conn)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if closed {
		conn.Close()
		<-s.slots
		return
	}
	go func() {
		defer s.wg.Done()
		defer func() { <-s.slots }()
		err := c.serve()
		conn.Close()
		s.mu.Lock()
		delete(s.conns, c)
		if e := c.export; e != nil {
			delete(e.conns, c)
			if e.gone && len(e.conns) == 0 {
				close(e.idle)
			}
		}
		s.mu.Unlock()
		if err != nil {
			s.o.Logger.Info("nbd: client disconnected", "err", err)
		}
	}()
}

// Close disconnects all clients after answering their requests under way, ends Serve, and waits for all of it.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

var errNoExport = errors.New("no such export")

// attach binds a connection to the export that a client asks for.
func (s *Server) attach(c *serverConn, name string) (*export, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.gone {
		return nil, errNoExport
	}
	e.conns[c] = struct{}{}
	c.export = e
	return e, nil
}

func (s *Server) find(name string) (*export, error) {
	if s.o.Resolve != nil {
		var err error
		if name, err = s.o.Resolve(name); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exports[name]
	if e == nil {
		return nil, errNoExport
	}
	return e, nil
}

func (s *Server) list() []*export {
	if s.o.Resolve != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*export
	for _, e := range s.exports {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *export) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}
