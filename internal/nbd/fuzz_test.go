package nbd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// conversation is a connection on which the other side has said everything already and takes every answer.
type conversation struct{ in *bytes.Reader }

func (c conversation) Read(p []byte) (int, error)     { return c.in.Read(p) }
func (conversation) Write(p []byte) (int, error)      { return len(p), nil }
func (conversation) Close() error                     { return nil }
func (conversation) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (conversation) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (conversation) SetDeadline(time.Time) error      { return nil }
func (conversation) SetReadDeadline(time.Time) error  { return nil }
func (conversation) SetWriteDeadline(time.Time) error { return nil }

type zeroDevice int64

func (d zeroDevice) Size() int64 { return int64(d) }

func (d zeroDevice) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func option(kind uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, kind)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

func FuzzServer(f *testing.F) {
	hello := []byte{0, 0, 0, 3}
	name := appendString(nil, "d")
	metas := appendString(be.AppendUint32(name, 1), MetaAllocation)
	open := bytes.Join([][]byte{hello, option(optStructuredReply, nil), option(optListMetaContext, metas),
		option(optSetMetaContext, metas), option(optList, nil), option(optInfo, append(name, 0, 1, 0, 2)),
		option(optGo, append(name, 0, 0))}, nil)
	f.Add(open)
	f.Add(bytes.Join([][]byte{hello, option(optStartTLS, nil), option(77, metas), option(optExportName, []byte("d"))}, nil))
	for cmd := range uint16(9) {
		b := bytes.Clone(open)
		for _, h := range []requestHeader{{cmd: cmd, cookie: 1, length: 4096}, {cmd: cmd, flags: 31, off: 1 << 19, length: 5}, {cmd: cmd, length: 1 << 31}} {
			b = h.append(b)
			if cmd == cmdWrite {
				b = append(b, make([]byte, min(h.length, 4096))...)
			}
		}
		f.Add(b)
	}
	o, err := NewOverlay(zeroDevice(1<<20), filepath.Join(f.TempDir(), "o"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { o.Close() })
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewServer(ServerOptions{})
		if err := s.Add(Export{Name: "d", Device: o}); err != nil {
			t.Fatal(err)
		}
		s.slots <- struct{}{}
		s.serveConn(conversation{bytes.NewReader(in)})
		s.wg.Wait()
		if !s.memory.TryAcquire(s.o.Memory) {
			t.Error("memory was not given back")
		}
		s.Close()
	})
}

func FuzzClientReplies(f *testing.F) {
	chunk := func(kind, flags uint16, cookie uint64, data ...byte) []byte {
		b := be.AppendUint32(nil, magicStructured)
		b = be.AppendUint64(be.AppendUint16(be.AppendUint16(b, flags), kind), cookie)
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	f.Add(true, bytes.Join([][]byte{
		chunk(chunkOffsetHole, 0, 1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 64),
		chunk(chunkOffsetData, 1, 1, append([]byte{0, 0, 0, 0, 0, 0, 16, 64}, make([]byte, 64)...)...),
		chunk(chunkBlockStatus, 1, 2, 0, 0, 0, 5, 0, 0, 0, 128, 0, 0, 0, 3),
		chunk(chunkError, 1, 3, 0, 0, 0, 28, 0, 2, 'n', 'o'),
	}, nil))
	f.Add(true, chunk(chunkErrorOffset, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 16, 1))
	f.Add(false, append(be.AppendUint64(be.AppendUint32(be.AppendUint32(nil, magicSimple), 0), 1), make([]byte, 128)...))
	f.Fuzz(func(t *testing.T, structured bool, in []byte) {
		// The replies come when the requests have been made.
		ours, theirs := net.Pipe()
		cc := newClientConn(ours, bufio.NewReader(ours), structured)
		cc.metas = map[string]uint32{MetaAllocation: 5}
		go func() {
			io.CopyN(io.Discard, theirs, 3*headerLen+64)
			theirs.Write(in)
			theirs.Close()
		}()
		ctx := context.Background()
		p := make([]byte, 128+1)
		calls := []*call{
			cc.start(ctx, requestHeader{cmd: cmdRead, off: 4096, length: 128}, p[:128]),
			cc.start(ctx, requestHeader{cmd: cmdBlockStatus, off: 4096, length: 128}, nil),
			cc.start(ctx, requestHeader{cmd: cmdWrite, off: 4096, length: 64}, make([]byte, 64)),
		}
		for _, cl := range calls {
			_ = cl.wait(ctx) // it may fail, but it must end
		}
		cc.close()
		if p[128] != 0 {
			t.Error("wrote beyond the buffer")
		}
	})
}

func FuzzClientHandshake(f *testing.F) {
	reply := func(option, kind uint32, data ...byte) []byte {
		b := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, magicOptReply), option), kind)
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	greeting := be.AppendUint16(be.AppendUint64(be.AppendUint64(nil, magicInit), magicOption), 3)
	f.Add(bytes.Join([][]byte{greeting, reply(optStructuredReply, repAck),
		reply(optSetMetaContext, repMetaContext, append([]byte{0, 0, 0, 5}, MetaAllocation...)...), reply(optSetMetaContext, repAck),
		reply(optGo, repInfo, 0, infoBlockSize, 0, 0, 2, 0, 0, 0, 16, 0, 0, 1, 0, 0),
		reply(optGo, repInfo, 0, infoExport, 0, 0, 0, 0, 0, 16, 0, 0, 1, 1), reply(optGo, repAck)}, nil))
	f.Add(bytes.Join([][]byte{greeting, reply(optStructuredReply, repErrUnsup, 'n', 'o'), reply(optGo, repErrUnknown)}, nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		conn := conversation{bytes.NewReader(in)}
		h := &clientHandshake{conn: conn, br: bufio.NewReader(conn)}
		if h.greet() != nil {
			return
		}
		exp, _, _, err := h.open("d", []string{MetaAllocation})
		if err == nil && (exp.size < 0 || exp.minBlock < 1 || exp.maxBlock < int(exp.minBlock) || exp.maxBlock > maxPayload) {
			t.Errorf("accepted %+v", exp)
		}
	})
}
