// Package frameworks has an app for each framework that docs/frameworks.md has a section on. Its
// code blocks are from here. The folders hold what the frameworks generate for some of them.
package frameworks

//go:generate sh -c "cd graph && go run github.com/99designs/gqlgen@v0.17.98 generate"
//go:generate sh -c "cd pages && go run github.com/a-h/templ/cmd/templ@v0.3.1100 generate"
//go:generate sh -c "cd visits && protoc -I. -I/usr/include --go_out=. --go-grpc_out=. --grpc-gateway_out=. --go_opt=paths=source_relative --go-grpc_opt=paths=source_relative --grpc-gateway_opt=paths=source_relative,grpc_api_configuration=http.yaml visits.proto"
