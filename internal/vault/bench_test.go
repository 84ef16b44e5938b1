package vault

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/file"

	"filippo.io/age"
)

// benchData is what file systems hold, more or less: the Go source tree and binaries of the machine that runs it.
func benchData(b *testing.B, size int64) []byte {
	b.Helper()
	data := make([]byte, 0, size)
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	err = filepath.WalkDir(strings.TrimSpace(string(root)), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		p, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data = append(data, p[:min(int64(len(p)), size-int64(len(data)))]...)
		data = append(data, make([]byte, min((dr.BlockSize-len(p)%dr.BlockSize)%dr.BlockSize, int(size)-len(data)))...)
		if int64(len(data)) == size {
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return data[:len(data)/dr.BlockSize*dr.BlockSize]
}

func benchVault(b *testing.B) (*Vault, *Lease) {
	b.Helper()
	var store blob.Store
	store, err := file.Open(b.TempDir(), true)
	if err != nil {
		b.Fatal(err)
	}
	if err := Create(b.Context(), store, CreateOptions{Recipients: []string{testIdentity.Recipient().String()}}); err != nil {
		b.Fatal(err)
	}
	v, err := Open(b.Context(), store, Options{Identities: []age.Identity{testIdentity}})
	if err != nil {
		b.Fatal(err)
	}
	l, err := v.Acquire(b.Context(), "bench", "east", "bench", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	return v, l
}

var benchDisk = dr.DiskID{Machine: "m", Disk: "d"}

func benchSpec(size int64) Spec {
	return Spec{CaptureID: randomID(), Time: time.Now(), Kind: dr.CrashConsistent, Machines: []dr.Machine{{Name: "m", Disks: []dr.Disk{{Name: "d", Size: size}}}}}
}

func benchSeed(b *testing.B, v *Vault, l *Lease, data []byte) dr.RecoveryPoint {
	w, err := v.BeginSeed(b.Context(), l, benchSpec(int64(len(data))), filepath.Join(b.TempDir(), randomID()), nil)
	if err != nil {
		b.Fatal(err)
	}
	const chunk = 1 << 20
	for off := 0; off < len(data); off += chunk {
		if err := w.Write(benchDisk, int64(off), data[off:min(off+chunk, len(data))]); err != nil {
			b.Fatal(err)
		}
	}
	p, err := w.Commit(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func BenchmarkSeed(b *testing.B) {
	data := benchData(b, 256<<20)
	v, l := benchVault(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var p dr.RecoveryPoint
	for b.Loop() {
		p = benchSeed(b, v, l, data)
	}
	b.ReportMetric(float64(p.Bytes)/float64(len(data)), "stored/written")
}

func BenchmarkReadSequential(b *testing.B) {
	data := benchData(b, 256<<20)
	v, l := benchVault(b)
	info := benchSeed(b, v, l, data)
	for _, chunk := range []int{64 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("%dKiB", chunk>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			buf := make([]byte, chunk)
			for b.Loop() {
				p, err := v.OpenPoint(b.Context(), "bench", info.ID)
				if err != nil {
					b.Fatal(err)
				}
				d, err := p.Disk(benchDisk)
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < d.Size(); off += int64(chunk) {
					if _, err := d.ReadAt(buf, off); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
				p.Close()
			}
		})
	}
}

// BenchmarkScatteredDelta writes 40 MiB of random 4 KiB blocks: stored bytes over changed bytes is the figure.
func BenchmarkScatteredDelta(b *testing.B) {
	const size = 4 << 30
	v, l := benchVault(b)
	w, err := v.BeginSeed(b.Context(), l, benchSpec(size), filepath.Join(b.TempDir(), "journal"), nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	block := make([]byte, dr.BlockSize)
	b.SetBytes(40 << 20)
	var p dr.RecoveryPoint
	for b.Loop() {
		if w, err = v.BeginDelta(b.Context(), l, benchSpec(size)); err != nil {
			b.Fatal(err)
		}
		for range 40 << 20 / dr.BlockSize {
			for i := 0; i < len(block); i += 8 {
				for j, x := 0, rng.Uint64(); j < 8; j, x = j+1, x>>8 {
					block[i+j] = byte(x)
				}
			}
			if err := w.Write(benchDisk, rng.Int64N(size/dr.BlockSize)*dr.BlockSize, block); err != nil {
				b.Fatal(err)
			}
		}
		if p, err = w.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(p.Bytes)/float64(40<<20), "stored/changed")
}
