package nbd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/nbd"
	"understudy/test/need"
)

const benchSize = 512 << 20

// rawFile writes a file without holes and opens it as a device.
func rawFile(b *testing.B) (string, *fileDevice) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "raw")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i>>8) | 1
	}
	for off := int64(0); off < benchSize; off += int64(len(p)) {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	return path, &fileDevice{f}
}

type fileDevice struct{ *os.File }

func (fileDevice) Size() int64 { return benchSize }

// BenchmarkCopy has nbdcopy and the Client read a raw file that this server or qemu-nbd serves.
func BenchmarkCopy(b *testing.B) {
	need.Tool(b, "nbdcopy", "qemu-nbd")
	path, d := rawFile(b)
	_, socket := serve(b, nbd.ServerOptions{}, nbd.Export{Device: d})
	for _, server := range []struct{ name, uri string }{
		{"understudy", nbd.URI(socket, "")},
		{"qemu-nbd", qemuNBD(b, "-r", "-f", "raw", path)},
	} {
		b.Run("nbdcopy/"+server.name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				run(b, "nbdcopy", server.uri, "null:")
			}
		})
		for _, conns := range []int{1, 2} {
			b.Run(fmt.Sprintf("client-%d/%s", conns, server.name), func(b *testing.B) {
				c := dial(b, server.uri, nbd.DialOptions{Connections: conns})
				p := make([]byte, 16<<20)
				b.SetBytes(benchSize)
				for b.Loop() {
					for off := int64(0); off < benchSize; off += int64(len(p)) {
						if _, err := c.ReadAt(p, off); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkRead4K is the latency of a small read.
func BenchmarkRead4K(b *testing.B) {
	_, socket := serve(b, nbd.ServerOptions{}, nbd.Export{Device: &sparse{size: 1 << 30}})
	c := dial(b, nbd.URI(socket, ""), nbd.DialOptions{})
	p := make([]byte, 4096)
	for b.Loop() {
		if _, err := c.ReadAt(p, 4096); err != nil {
			b.Fatal(err)
		}
	}
}
