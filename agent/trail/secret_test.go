package trail

import "testing"

// TestCleanLooksFirst: what clean leaves out, because it does not look like a secret,
// would not have been changed by the expressions either.
func TestCleanLooksFirst(t *testing.T) {
	for _, s := range []string{
		"", "process 7 (sh) started at tick 8: SIGSTOP", "http://a:b@c/d", "etcd://user:pw@host and more",
		"Authorization: Basic YWxhZGRpbjpvcGVu", "authorization:bearer abcdefgh.ijk", "BEARER ABCDEFGHIJ",
		"PassWord=x", "passwd: x", `passphrase "a b"`, "client_secret 'x y'", "credential=x", "tokens x", "API-KEY=x", "api_key x", "apikey: x",
		"access-key=x", "private_key x", "paſſword=x", "api_\u212aey=x", "monkey business", "a pass over the data",
	} {
		all := cut(namedSecret().ReplaceAllString(bearer().ReplaceAllString(
			urlPassword().ReplaceAllString(s, "${1}"+redacted+"@"), "${1}"+redacted), "${1}"+redacted), maxText)
		if got := clean(s); got != all {
			t.Errorf("%q: %q, and all expressions give %q", s, got, all)
		}
	}
}
