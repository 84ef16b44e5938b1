package s3_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/internal/vault/blob/s3"
	"understudy/test/need"
)

// lockable makes a bucket with object lock, as its owner does.
func lockable(t testing.TB, server *need.Server, bucket string) blob.Store {
	t.Helper()
	owner, err := minio.New(server.Address, &minio.Options{Creds: credentials.NewStaticV4(server.User, server.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	s, err := open(t, server, bucket, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLocks(t *testing.T) {
	server := need.S3(t)
	var n atomic.Int32
	for _, mode := range []blob.LockMode{blob.Governance, blob.Compliance} {
		t.Run(string(mode), func(t *testing.T) {
			blobtest.RunLocks(t, mode, func(t testing.TB) blob.Store { return lockable(t, server, fmt.Sprintf("locks-%d", n.Add(1))) })
		})
	}
}

// TestWriterThatCannotExtendOrDelete gives a writer the role that docs/vault-object-storage.md shows.
func TestWriterThatCannotExtendOrDelete(t *testing.T) {
	server := need.S3(t)
	server.AddUser(t, "writer", "writer-secret")
	all := lockable(t, server, "worm")
	owner, err := minio.New(server.Address, &minio.Options{Creds: credentials.NewStaticV4(server.User, server.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Resource": ["arn:aws:s3:::worm", "arn:aws:s3:::worm/*"],
		"Action": ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:GetBucketObjectLockConfiguration"]}]}`
	if err := owner.SetBucketPolicy(t.Context(), "worm", policy); err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), s3.Config{Bucket: "worm", Prefix: "vaults/one", Endpoint: server.Address, Insecure: true, Region: "us-east-1",
		Credentials: credentials.NewStaticV4("writer", "writer-secret", "")}, false)
	if err != nil {
		t.Fatal(err)
	}
	lock := blob.Lock{Mode: blob.Compliance, Until: time.Now().Add(36 * time.Hour)}
	create := func(name string, size int) error {
		_, err := s.CreateLocked(t.Context(), name, strings.NewReader(strings.Repeat("x", size)), lock)
		return err
	}
	if err := create("a", 1); dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "s3:PutObjectRetention") {
		t.Errorf("a bucket that does not lock by itself: %v (%s)", err, dr.Hint(err))
	}
	for days, ok := range map[uint]bool{1: false, 30: true} {
		mode, unit := minio.Compliance, minio.Days
		if err := owner.SetObjectLockConfig(t.Context(), "worm", &mode, &days, &unit); err != nil {
			t.Fatal(err)
		}
		for name, size := range map[string]int{"small": 1, "large": 6 << 20} {
			name := fmt.Sprintf("%s-%d", name, days)
			if err := create(name, size); (err == nil) != ok {
				t.Fatalf("%s: %v", name, err)
			}
			if !ok {
				continue
			}
			if err := all.(blob.Locker).Purge(t.Context(), name); !errors.Is(err, blob.ErrLocked) {
				t.Errorf("the owner can delete %s: %v", name, err)
			}
			for what, err := range map[string]error{"purge": s.Purge(t.Context(), name), "delete": s.Delete(t.Context(), name),
				"extend": s.Lock(t.Context(), name, blob.Lock{Mode: blob.Compliance, Until: lock.Until.AddDate(1, 0, 0)})} {
				if err == nil {
					t.Errorf("the writer can %s %s", what, name)
				}
			}
		}
	}
	// What a writer replaces all the time.
	tag, err := s.PutTagged(t.Context(), "owner", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutTagged(t.Context(), "owner", []byte("two"), tag); err != nil {
		t.Fatal(err)
	}
}

func TestBucketWithoutLocks(t *testing.T) {
	server := need.S3(t)
	s, err := open(t, server, "plain", true)
	if err != nil {
		t.Fatal(err)
	}
	l, err := blob.AsLocker(s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.CreateLocked(t.Context(), "a", strings.NewReader("x"), blob.Lock{Mode: blob.Compliance, Until: time.Now().Add(time.Hour)})
	if dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "object lock") {
		t.Errorf("%v (%s)", err, dr.Hint(err))
	}
}
