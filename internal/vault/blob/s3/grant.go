package s3

import (
	"context"
	"net/http"
	"time"

	"understudy/internal/vault/blob"
)

var _ blob.Granter = (*Store)(nil)

// GrantRead implements blob.Granter.
func (s *Store) GrantRead(ctx context.Context, name string, lifetime time.Duration) (blob.Grant, error) {
	return s.grant(ctx, http.MethodGet, name, lifetime, nil)
}

// GrantCreate implements blob.Granter. The condition is signed: without it the request is refused.
func (s *Store) GrantCreate(ctx context.Context, name string, lifetime time.Duration) (blob.Grant, error) {
	return s.grant(ctx, http.MethodPut, name, lifetime, http.Header{"If-None-Match": {"*"}})
}

func (s *Store) grant(ctx context.Context, method, name string, lifetime time.Duration, header http.Header) (blob.Grant, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Grant{}, err
	}
	end := time.Now().Add(lifetime)
	u, err := s.core.PresignHeader(ctx, method, s.bucket, s.prefix+name, lifetime, nil, header)
	if err != nil {
		return blob.Grant{}, s.explain("grant", name, err)
	}
	return blob.Grant{Method: method, URL: u.String(), Header: header, Expires: end}, nil
}
