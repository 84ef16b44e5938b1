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
	// patience is how long a cancelled request waits for bytes that are on the way in or out in its name;
	// after it the connection, which is in the middle of a message, is given up.
	patience = 2 * time.Second
	// maxStatusRuns bounds one block status reply.
	maxStatusRuns = 1 << 20
)

// clientConn is one connection in the transmission phase. Requests are written by the goroutines that make them, one
// at a time; a reader of its own hands out the replies.
type clientConn struct {
	conn       net.Conn
	br         *bufio.Reader
	structured bool
	metas      map[string]uint32 // constant

	sending chan struct{} // holds a token while nobody writes
	hdr     [headerLen]byte
	done    chan struct{} // closed when the reader has ended

	mu     sync.Mutex
	calls  map[uint64]*call
	cookie uint64
	err    error // why the connection is dead
}

// call is a request under way.
type call struct {
	cc   *clientConn
	h    requestHeader
	done chan struct{} // closed when finished

	// Owned by the reader once the request is sent.
	buf    []byte
	got    int64 // bytes of buf that were received
	status map[uint32][]Run
	cause  *Error // first error chunk

	err error // read after done

	mu        sync.Mutex // held by the reader while it writes to buf
	abandoned bool
}

func newClientConn(conn net.Conn, br *bufio.Reader, structured bool) *clientConn {
	cc := &clientConn{
		conn: conn, br: br, structured: structured,
		sending: make(chan struct{}, 1), done: make(chan struct{}), calls: map[uint64]*call{},
	}
	cc.sending <- struct{}{}
	go cc.read()
	return cc
}

// start sends a request. p is what it writes or where it reads to. The caller must wait for the call, whatever happens.
func (cc *clientConn) start(ctx context.Context, h requestHeader, p []byte) *call {
	cl := &call{cc: cc, h: h, buf: p, done: make(chan struct{})}
	select {
	case <-cc.sending:
	case <-ctx.Done():
		cl.fail(ctx.Err())
		return cl
	case <-cc.done:
		cl.fail(cc.reason())
		return cl
	}
	defer func() { cc.sending <- struct{}{} }()

	cc.mu.Lock()
	if cc.err != nil {
		cc.mu.Unlock()
		cl.fail(cc.err)
		return cl
	}
	cc.cookie++
	cl.h.cookie = cc.cookie
	cc.calls[cl.h.cookie] = cl
	cc.mu.Unlock()

	if err := cc.send(ctx, cl.h, p); err != nil {
		cc.fail(fmt.Errorf("nbd: connection lost: %w", err))
	}
	return cl
}

// send writes one request; the caller holds the sending token.
func (cc *clientConn) send(ctx context.Context, h requestHeader, p []byte) error {
	stop := func() {}
	if ctx.Done() != nil {
		// Half a request would be the end of the connection: give it a chance to go out.
		late := make(chan struct{})
		undo := context.AfterFunc(ctx, func() {
			cc.conn.SetWriteDeadline(time.Now().Add(patience))
			close(late)
		})
		stop = func() {
			if !undo() {
				<-late
				cc.conn.SetWriteDeadline(time.Time{})
			}
		}
	}
	defer stop()
	b := h.append(cc.hdr[:0])
	if h.cmd != cmdWrite {
		return writeAll(cc.conn, b)
	}
	bufs := net.Buffers{b, p}
	_, err := bufs.WriteTo(cc.conn)
	return err
}

// wait waits for the reply. When ctx ends first the reply will be thrown away, and buf is not used any more.
func (cl *call) wait(ctx context.Context) error {
	select {
	case <-cl.done:
		return cl.err
	case <-ctx.Done():
	}
	// The reader may be in the middle of a chunk for buf: that long the server is given, then the connection goes.
	timer := time.AfterFunc(patience, func() { cl.cc.fail(fmt.Errorf("nbd: connection given up: %w", ctx.Err())) })
	cl.mu.Lock()
	cl.abandoned = true
	cl.mu.Unlock()
	timer.Stop()
	select {
	case <-cl.done:
		return cl.err
	default:
		return ctx.Err()
	}
}

func (cl *call) fail(err error) {
	cl.err = err
	close(cl.done)
}

// fail declares the connection dead: every call under way and all later ones fail with err.
func (cc *clientConn) fail(err error) {
	cc.mu.Lock()
	if cc.err == nil {
		cc.err = err
	}
	cc.mu.Unlock()
	cc.conn.Close() // wakes the reader, which tells the callers
}

func (cc *clientConn) reason() error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	return cc.err
}

func (cc *clientConn) close() {
	cc.mu.Lock()
	dead := cc.err != nil
	if !dead {
		cc.err = ErrClosed
	}
	cc.mu.Unlock()
	if !dead {
		// A server that does not read gets no goodbye.
		cc.conn.SetWriteDeadline(time.Now().Add(patience))
		select {
		case <-cc.sending:
			_ = writeAll(cc.conn, requestHeader{cmd: cmdDisc}.append(nil))
			cc.sending <- struct{}{}
		case <-time.After(patience):
		}
	}
	cc.conn.Close()
	<-cc.done
}

// read hands out replies until the connection ends.
func (cc *clientConn) read() {
	err := cc.replies()
	cc.fail(fmt.Errorf("nbd: connection lost: %w", noEOF(err)))
	cc.mu.Lock()
	err = cc.err
	calls := cc.calls
	cc.calls = nil
	cc.mu.Unlock()
	close(cc.done)
	for _, cl := range calls {
		cl.fail(err)
	}
}

func (cc *clientConn) replies() error {
	var b [20]byte
	for {
		if _, err := io.ReadFull(cc.br, b[:16]); err != nil {
			return err
		}
		var err error
		switch magic := be.Uint32(b[:]); magic {
		case magicSimple:
			err = cc.simpleReply(be.Uint64(b[8:]), be.Uint32(b[4:]))
		case magicStructured:
			if _, err := io.ReadFull(cc.br, b[16:20]); err != nil {
				return err
			}
			err = cc.chunk(be.Uint64(b[8:]), be.Uint16(b[4:]), be.Uint16(b[6:]), be.Uint32(b[16:]))
		default:
			err = fmt.Errorf("reply magic %#x", magic)
		}
		if err != nil {
			return err
		}
	}
}

// find returns the call of a cookie.
func (cc *clientConn) find(cookie uint64) (*call, error) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cl := cc.calls[cookie]
	if cl == nil {
		return nil, fmt.Errorf("reply to no request of ours (%d)", cookie)
	}
	return cl, nil
}

// finish ends a call with the error it collected, or err.
func (cc *clientConn) finish(cl *call, err error) {
	cc.mu.Lock()
	delete(cc.calls, cl.h.cookie)
	cc.mu.Unlock()
	if cl.cause != nil {
		err = cl.cause
	}
	cl.fail(err)
}

func (cl *call) error(wire uint32, msg string) *Error {
	return &Error{Op: cmdName(cl.h.cmd), Offset: int64(cl.h.off), Length: int64(cl.h.length), Errno: errnoOf(wire), Msg: msg}
}

func (cc *clientConn) simpleReply(cookie uint64, wire uint32) error {
	cl, err := cc.find(cookie)
	if err != nil {
		return err
	}
	if cl.h.cmd == cmdRead && cc.structured || cl.h.cmd == cmdBlockStatus && wire == 0 {
		return fmt.Errorf("simple reply to %s where a structured one is due", cmdName(cl.h.cmd))
	}
	if wire != 0 {
		cl.cause = cl.error(wire, "")
	} else if cl.h.cmd == cmdRead {
		if err := cl.receive(cc.br, 0, int64(cl.h.length)); err != nil {
			return err
		}
	}
	cc.finish(cl, nil)
	return nil
}

// chunk handles one chunk of a structured reply, whose payload has n bytes.
func (cc *clientConn) chunk(cookie uint64, flags, kind uint16, n uint32) error {
	if !cc.structured {
		return errors.New("structured reply that was not negotiated")
	}
	cl, err := cc.find(cookie)
	if err != nil {
		return err
	}
	last := flags&chunkFlagDone != 0
	switch {
	case kind == chunkNone:
		if n != 0 || !last {
			return errors.New("malformed empty chunk")
		}
	case kind == chunkOffsetData && cl.h.cmd == cmdRead:
		err = cc.dataChunk(cl, n)
	case kind == chunkOffsetHole && cl.h.cmd == cmdRead:
		err = cc.holeChunk(cl, n)
	case kind == chunkBlockStatus && cl.h.cmd == cmdBlockStatus:
		err = cc.statusChunk(cl, n)
	case kind&chunkErrBit != 0:
		err = cc.errorChunk(cl, kind, n)
	default:
		err = fmt.Errorf("chunk of type %d in a reply to %s", kind, cmdName(cl.h.cmd))
	}
	if err != nil || !last {
		return err
	}
	if cl.h.cmd == cmdRead && cl.cause == nil && cl.got != int64(cl.h.length) {
		return fmt.Errorf("read reply has %d of %d bytes", cl.got, cl.h.length)
	}
	cc.finish(cl, nil)
	return nil
}

// place checks that n bytes at off lie within the request and were not all received before; it returns where.
func (cl *call) place(off uint64, n int64) (int64, error) {
	if n == 0 || off < cl.h.off || off-cl.h.off > uint64(cl.h.length) || n > int64(cl.h.length)-int64(off-cl.h.off) ||
		cl.got+n > int64(cl.h.length) {
		return 0, fmt.Errorf("read reply has a chunk of %d bytes at %d that was not asked for", n, off)
	}
	return int64(off - cl.h.off), nil
}

func (cc *clientConn) dataChunk(cl *call, n uint32) error {
	var b [8]byte
	if n < 8 {
		return errors.New("short data chunk")
	}
	if _, err := io.ReadFull(cc.br, b[:]); err != nil {
		return err
	}
	at, err := cl.place(be.Uint64(b[:]), int64(n)-8)
	if err != nil {
		return err
	}
	return cl.receive(cc.br, at, int64(n)-8)
}

func (cc *clientConn) holeChunk(cl *call, n uint32) error {
	var b [12]byte
	if n != 12 {
		return errors.New("malformed hole chunk")
	}
	if _, err := io.ReadFull(cc.br, b[:]); err != nil {
		return err
	}
	size := int64(be.Uint32(b[8:]))
	at, err := cl.place(be.Uint64(b[:]), size)
	if err != nil {
		return err
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if !cl.abandoned {
		clear(cl.buf[at : at+size])
	}
	cl.got += size
	return nil
}

// receive reads n bytes into the buffer, or throws them away when nobody wants them any more.
func (cl *call) receive(r io.Reader, at, n int64) error {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	var err error
	if cl.abandoned {
		_, err = io.CopyN(io.Discard, r, n)
	} else {
		_, err = io.ReadFull(r, cl.buf[at:at+n])
	}
	cl.got += n
	return err
}

func (cc *clientConn) statusChunk(cl *call, n uint32) error {
	if n < 12 || (n-4)%8 != 0 || (n-4)/8 > maxStatusRuns {
		return errors.New("malformed block status chunk")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(cc.br, b); err != nil {
		return err
	}
	if cl.status == nil {
		cl.status = map[uint32][]Run{}
	}
	id := be.Uint32(b)
	if len(cl.status) == len(cc.metas) || cl.status[id] != nil {
		return errors.New("too many block status chunks")
	}
	runs := make([]Run, 0, (n-4)/8)
	for b = b[4:]; len(b) > 0; b = b[8:] {
		r := Run{Length: int64(be.Uint32(b)), Flags: be.Uint32(b[4:])}
		if r.Length == 0 {
			return errors.New("empty block status run")
		}
		runs = append(runs, r)
	}
	cl.status[id] = runs
	return nil
}

func (cc *clientConn) errorChunk(cl *call, kind uint16, n uint32) error {
	if n < 6 || n > maxOptData {
		return errors.New("malformed error chunk")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(cc.br, b); err != nil {
		return err
	}
	wire, length := be.Uint32(b), int(be.Uint16(b[4:]))
	if wire == 0 || length > len(b)-6 || kind == chunkErrorOffset && len(b) != 6+length+8 {
		return errors.New("malformed error chunk")
	}
	if cl.cause == nil {
		cl.cause = cl.error(wire, printable(b[6:6+length]))
	}
	return nil
}
