package plan

import "testing"

// A value of the wrong type is said in words of the plan, without a column that is not
// known.
func TestWrongTypes(t *testing.T) {
	tests := []struct{ yaml, want string }{
		{"name: x\nlock: {backend: etcd, endpoints: a:1, key: k, ttl: 10s}\n", `line 2: "a:1" is not a list, as in [a, b]`},
		{"name: x\nlock: {backend: etcd, endpoints: [a:1], key: k, ttl: 10s}\ntrials: many\n", `line 3: "many" is not a whole number`},
		{"name: x\nlock: {backend: etcd, endpoints: [a:1], key: k, ttl: 10s}\nclients: {builtin: 3}\n", `line 3: "3" is not true or false`},
		{"name: x\nlock: {backend: etcd\n", "line 1: did not find expected ',' or '}'"},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.yaml))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v, want %s", tt.yaml, err, tt.want)
		}
	}
}
