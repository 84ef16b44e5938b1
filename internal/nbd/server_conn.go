package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	readerLen = 64 << 10
	// chunkLen is the longest piece of data read from a device at a time. It bounds what a request keeps in memory,
	// unless the client insists on an answer in one piece.
	chunkLen = 1 << 20
)

// serverConn is one client.
type serverConn struct {
	s    *Server
	conn net.Conn // below TLS, for deadlines
	nc   net.Conn // what is spoken on
	br   *bufio.Reader

	export     *export // set by Server.attach, constant afterwards
	structured bool
	meta       bool // base:allocation was chosen

	slots chan struct{} // one per request under way
	work  sync.WaitGroup

	writing sync.Mutex
	broken  bool // a reply could not be sent; guarded by writing

	mu       sync.Mutex
	draining bool
}

func newServerConn(s *Server, conn net.Conn) *serverConn {
	return &serverConn{
		s: s, conn: conn, nc: conn, br: bufio.NewReaderSize(conn, readerLen),
		slots: make(chan struct{}, s.o.InFlight),
	}
}

// drain makes the connection take no more requests and end when those under way are answered.
func (c *serverConn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return
	}
	c.draining = true
	c.conn.SetReadDeadline(time.Unix(1, 0))
	c.conn.SetWriteDeadline(time.Now().Add(c.s.o.Drain))
}

// deadline sets a deadline by one of the connection's methods, unless the connection is ending, which has its own.
// Zero means none.
func (c *serverConn) deadline(set func(time.Time) error, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return
	}
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	// A connection that is closed already says so at the next read or write.
	_ = set(t)
}

// serve speaks with the client until it goes or has to go. When it returns no request is under way.
func (c *serverConn) serve() error {
	c.deadline(c.conn.SetDeadline, c.s.o.Handshake)
	err := c.handshake()
	if err == nil {
		c.deadline(c.conn.SetDeadline, 0)
		err = c.requests()
	}
	c.work.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || errors.Is(err, io.EOF) || errors.Is(err, errAborted) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// requests reads requests and has them worked on.
func (c *serverConn) requests() error {
	var b [headerLen]byte
	for {
		h, err := readRequestHeader(c.br, &b)
		if err != nil || h.cmd == cmdDisc {
			return err
		}
		c.slots <- struct{}{}
		var payload *buffer
		bad := c.check(h)
		if h.cmd == cmdWrite {
			if payload, err = c.payload(h, bad == nil); err != nil {
				<-c.slots
				return fmt.Errorf("read data of a write: %w", noEOF(err))
			}
		}
		c.work.Go(func() {
			defer func() { <-c.slots }()
			defer payload.free()
			if bad == nil {
				bad = c.do(h, payload)
			}
			if bad != nil {
				c.replyError(h, bad)
			}
		})
	}
}

// payload reads what follows a write, or throws it away if the write is refused.
func (c *serverConn) payload(h requestHeader, keep bool) (*buffer, error) {
	defer c.deadline(c.conn.SetReadDeadline, 0)
	if !keep {
		for n := int64(h.length); n > 0; {
			c.deadline(c.conn.SetReadDeadline, c.s.o.Stall)
			l := min(n, chunkLen)
			if _, err := io.CopyN(io.Discard, c.br, l); err != nil {
				return nil, err
			}
			n -= l
		}
		return nil, nil
	}
	buf := c.s.buffer(int(h.length))
	for p := buf.b; len(p) > 0; {
		c.deadline(c.conn.SetReadDeadline, c.s.o.Stall)
		l := min(len(p), chunkLen)
		if _, err := io.ReadFull(c.br, p[:l]); err != nil {
			buf.free()
			return nil, err
		}
		p = p[l:]
	}
	return buf, nil
}

// requestError is why a request is refused or failed.
type requestError struct {
	wire uint32
	msg  string
	off  uint64
	at   bool // off says where
}

// check judges a request before anything is done for it.
func (c *serverConn) check(h requestHeader) *requestError {
	refuse := func(wire uint32, msg string) *requestError { return &requestError{wire: wire, msg: msg} }
	// FUA is allowed everywhere, and meaningless where nothing is written.
	allowed, writes := uint16(cmdFlagFUA), false
	switch h.cmd {
	case cmdRead:
		if c.structured {
			allowed |= cmdFlagDF
		}
	case cmdWrite, cmdTrim:
		writes = true
	case cmdWriteZeroes:
		writes = true
		allowed |= cmdFlagNoHole
		if c.export.flags()&flagSendFastZero != 0 {
			allowed |= cmdFlagFastZero
		}
	case cmdFlush, cmdCache:
	case cmdBlockStatus:
		if !c.meta {
			return refuse(wireEINVAL, "no meta context was chosen")
		}
		allowed |= cmdFlagReqOne
	default:
		return refuse(wireEINVAL, "unknown command")
	}
	size := uint64(c.export.size)
	switch {
	case h.flags&^allowed != 0:
		return refuse(wireEINVAL, "unknown flags")
	case writes && c.export.writable() == nil:
		return refuse(wireEPERM, "the export is read-only")
	case h.cmd == cmdFlush && (h.off != 0 || h.length != 0):
		return refuse(wireEINVAL, "flush has no range")
	case h.cmd == cmdFlush:
		return nil
	case h.length == 0:
		return refuse(wireEINVAL, "empty range")
	case h.length > maxPayload && (h.cmd == cmdRead || h.cmd == cmdWrite):
		return refuse(wireEINVAL, "longer than 32 MiB")
	case h.off > size || uint64(h.length) > size-h.off:
		if writes {
			return refuse(wireENOSPC, "beyond the end of the export")
		}
		return refuse(wireEINVAL, "beyond the end of the export")
	}
	return nil
}

// do carries a request out and answers it; what it returns is left to be answered.
func (c *serverConn) do(h requestHeader, payload *buffer) *requestError {
	var err error
	off, n := int64(h.off), int64(h.length)
	w := c.export.writable()
	switch h.cmd {
	case cmdRead:
		return c.read(h)
	case cmdBlockStatus:
		return c.blockStatus(h)
	case cmdCache:
		err = c.cache(off, n)
	case cmdFlush:
		if w != nil {
			err = w.Flush()
		}
	case cmdWrite:
		_, err = w.WriteAt(payload.b, off)
	case cmdTrim:
		err = w.Zero(off, n)
	case cmdWriteZeroes:
		switch {
		case h.flags&cmdFlagNoHole == 0:
			err = w.Zero(off, n)
		case h.flags&cmdFlagFastZero != 0:
			return &requestError{wire: wireENOTSUP, msg: "zeros with their space reserved are not fast"}
		default:
			err = c.writeZeros(w, off, n)
		}
	}
	if err == nil && h.flags&cmdFlagFUA != 0 && w != nil {
		err = w.Flush()
	}
	if err != nil {
		return c.failed(h, err, off)
	}
	c.reply(c.header(h, chunkNone, chunkFlagDone, 0), nil)
	return nil
}

// failed logs an error of the device and makes it one for the client, who is not told the details.
func (c *serverConn) failed(h requestHeader, err error, off int64) *requestError {
	c.s.o.Logger.Error("nbd: device failed", "export", c.export.Name, "op", cmdName(h.cmd), "offset", off, "length", h.length, "err", err)
	wire := wireOf(err)
	return &requestError{wire: wire, msg: "device error", off: uint64(off), at: h.cmd == cmdRead}
}

// header begins a reply: a chunk with a payload of n bytes or, without structured replies, success.
func (c *serverConn) header(h requestHeader, kind, flags uint16, n int) []byte {
	if !c.structured {
		return be.AppendUint64(be.AppendUint32(be.AppendUint32(make([]byte, 0, 32), magicSimple), 0), h.cookie)
	}
	b := be.AppendUint32(make([]byte, 0, 32), magicStructured)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint64(b, h.cookie)
	return be.AppendUint32(b, uint32(n))
}

func (c *serverConn) replyError(h requestHeader, bad *requestError) {
	if !c.structured {
		b := be.AppendUint32(nil, magicSimple)
		b = be.AppendUint32(b, bad.wire)
		c.reply(be.AppendUint64(b, h.cookie), nil)
		return
	}
	kind, extra := uint16(chunkError), []byte(nil)
	if bad.at {
		kind, extra = chunkErrorOffset, be.AppendUint64(nil, bad.off)
	}
	b := c.header(h, kind, chunkFlagDone, 6+len(bad.msg)+len(extra))
	b = be.AppendUint32(b, bad.wire)
	b = be.AppendUint16(b, uint16(len(bad.msg)))
	b = append(b, bad.msg...)
	c.reply(append(b, extra...), nil)
}

// reply sends one chunk or simple reply and reports whether the client can still be spoken to.
func (c *serverConn) reply(header, data []byte) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.broken {
		return false
	}
	first := data[:min(len(data), chunkLen)]
	bufs := net.Buffers{header, first}
	c.deadline(c.conn.SetWriteDeadline, c.s.o.Stall)
	_, err := bufs.WriteTo(c.nc)
	for data = data[len(first):]; len(data) > 0 && err == nil; {
		// Every piece has the full time, so that a slow line is not taken for a dead one.
		c.deadline(c.conn.SetWriteDeadline, c.s.o.Stall)
		l := min(len(data), chunkLen)
		err = writeAll(c.nc, data[:l])
		data = data[l:]
	}
	if err != nil {
		c.broken = true
		c.conn.Close() // ends the reading of requests
	}
	return err == nil
}

// buffer is memory for payload that counts against the server's limit.
type buffer struct {
	s      *Server
	b      []byte
	whole  *[]byte // what goes back to the pool
	weight int64
}

// buffer waits for memory. Who has some never waits for more, and lets go of it when a client stalls.
func (s *Server) buffer(n int) *buffer {
	weight := n
	if n <= chunkLen {
		weight = 4096
		for weight < n {
			weight *= 4
		}
	}
	// Without an end of the context it cannot fail: no weight is above the limit.
	_ = s.memory.Acquire(context.Background(), int64(weight))
	buf := &buffer{s: s, weight: int64(weight)}
	if n > chunkLen {
		buf.b = make([]byte, n)
		return buf
	}
	pool := s.pool(weight)
	if buf.whole, _ = pool.Get().(*[]byte); buf.whole == nil {
		b := make([]byte, weight)
		buf.whole = &b
	}
	buf.b = (*buf.whole)[:n]
	return buf
}

// free returns the memory; a nil buffer has none.
func (b *buffer) free() {
	if b == nil {
		return
	}
	if b.whole != nil {
		b.s.pool(int(b.weight)).Put(b.whole)
	}
	b.s.memory.Release(b.weight)
}

// pool is the pool of buffers of a size: 4 KiB, 16 KiB, ... chunkLen.
func (s *Server) pool(size int) *sync.Pool {
	i := 0
	for size > 4096 {
		size /= 4
		i++
	}
	return &s.pools[i]
}
