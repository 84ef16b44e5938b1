package wire

import "time"

// LoginMethods is how one can log in.
type LoginMethods struct {
	Bootstrap bool        `json:"bootstrap" doc:"There is no user yet: the token in the controller's data folder makes the first"`
	Password  bool        `json:"password"`
	OIDC      []OIDCLogin `json:"oidc" doc:"Providers of identities"`
}

// OIDCLogin is a provider of identities.
type OIDCLogin struct {
	Name string `json:"name"`
	URL  string `json:"url" doc:"Where a browser begins the login"`
}

// Bootstrap makes the first user.
type Bootstrap struct {
	Token    string `json:"token" minLength:"1" doc:"From the file bootstrap-token in the controller's data folder; valid once"`
	User     string `json:"user" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9._@-]*$"`
	Password string `json:"password" minLength:"12" maxLength:"256"`
}

// Login asks for a session.
type Login struct {
	User     string `json:"user" minLength:"1" maxLength:"63"`
	Password string `json:"password" minLength:"1" maxLength:"256"`
}

// RoleGrant gives a role in a scope.
type RoleGrant struct {
	Role  string `json:"role" enum:"viewer,drill-runner,failover-approver,operator,admin"`
	Scope string `json:"scope" minLength:"1" example:"group:shop" doc:"*, site:NAME or group:NAME"`
}

// Session is who asks and what that caller may do.
type Session struct {
	User    string      `json:"user"`
	Method  string      `json:"method" doc:"How the caller was recognised: password, token, or oidc and the provider's name"`
	Grants  []RoleGrant `json:"grants"`
	Verbs   []string    `json:"verbs" doc:"What the caller may do somewhere"`
	Rights  []Right     `json:"rights" doc:"What the caller may do where"`
	Expires *time.Time  `json:"expires,omitempty" doc:"A session's end moves with its use"`

	FourEyes bool `json:"fourEyes" doc:"Another person has to approve what is dangerous: such requests are answered 202 with a problem of kind approval-wanted"`
}

// Right is what a role allows in a scope.
type Right struct {
	Scope string   `json:"scope" example:"group:shop"`
	Verbs []string `json:"verbs"`
}

// User is a person with a password.
type User struct {
	Name        string      `json:"name"`
	Grants      []RoleGrant `json:"grants"`
	Created     time.Time   `json:"created"`
	LastLogin   *time.Time  `json:"lastLogin,omitempty"`
	HasPassword bool        `json:"hasPassword" doc:"Without one the user cannot log in"`
}

// UserChange adds a user, or changes what one may do.
type UserChange struct {
	Grants   []RoleGrant `json:"grants" doc:"All of them; may be empty"`
	Password string      `json:"password,omitempty" minLength:"12" maxLength:"256" doc:"Left out: stays as it is"`
}

// PasswordChange sets a password.
type PasswordChange struct {
	Current  string `json:"current,omitempty" maxLength:"256" doc:"Needed to change one's own"`
	Password string `json:"password" minLength:"12" maxLength:"256"`
}

// Token lets its bearer use the API.
type Token struct {
	Name    string      `json:"name"`
	Grants  []RoleGrant `json:"grants"`
	Owner   string      `json:"owner,omitempty" doc:"The user who made it, with whom it ends"`
	Created time.Time   `json:"created"`
	Expires *time.Time  `json:"expires,omitempty" doc:"Left out: never"`
	Secret  string      `json:"secret,omitempty" doc:"Only in the answer to the request that made it"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name   string      `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9._@-]*$"`
	Grants []RoleGrant `json:"grants" minItems:"1"`
	TTL    Duration    `json:"ttl,omitempty" example:"90d" doc:"Left out: never ends"`
}

// Approval is what one person asked for and another has to allow. Once it is approved, the same request passes once.
type Approval struct {
	ID        string     `json:"id"`
	State     string     `json:"state" enum:"wanted,approved,rejected,used,expired"`
	About     string     `json:"about" doc:"What is asked for, as in: to ..."`
	Verb      string     `json:"verb"`
	Group     string     `json:"group,omitempty"`
	Sites     []string   `json:"sites,omitempty"`
	By        string     `json:"by"`
	Mine      bool       `json:"mine" doc:"The caller asked for it, so another has to approve it"`
	Requested time.Time  `json:"requested"`
	Expires   time.Time  `json:"expires"`
	Decided   *time.Time `json:"decided,omitempty"`
	DecidedBy string     `json:"decidedBy,omitempty"`
	Note      string     `json:"note,omitempty"`
	Used      *time.Time `json:"used,omitempty"`
}

// Decision is why something is approved or rejected.
type Decision struct {
	Note string `json:"note,omitempty" maxLength:"4096"`
}

// AuditEntry says who asked for what and what became of it.
type AuditEntry struct {
	Sequence  int64     `json:"sequence"`
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor" doc:"Empty: not known"`
	Person    string    `json:"person,omitempty" doc:"Who is behind the actor, when that is another name"`
	Method    string    `json:"method,omitempty" doc:"How the actor was recognised; left out: was not"`
	Address   string    `json:"address,omitempty"`
	Operation string    `json:"operation" doc:"ID of the API's operation"`
	Verb      string    `json:"verb,omitempty"`
	Object    string    `json:"object,omitempty" example:"group:shop"`
	Digest    string    `json:"digest,omitempty" doc:"SHA-256 of the request"`
	Of        int64     `json:"of,omitempty" doc:"The entry that tells the beginning of this"`
	Result    string    `json:"result" enum:"begun,done,refused,waits,failed,gap"`
	Status    int       `json:"status,omitempty"`
	Run       string    `json:"run,omitempty"`
	Approval  string    `json:"approval,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Hash      string    `json:"hash"`
}

// AuditVerification is what reading the whole audit log found.
type AuditVerification struct {
	Intact   bool     `json:"intact"`
	Entries  int64    `json:"entries"`
	Head     string   `json:"head,omitempty" doc:"The end of the log. Note it elsewhere: a later verification that expects it finds what was written anew"`
	Findings []string `json:"findings"`
}
