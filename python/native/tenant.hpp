// SPDX-License-Identifier: MIT OR Apache-2.0
// A tenant as Python holds it.
#ifndef COGNIWARE_PYTHON_TENANT_HPP
#define COGNIWARE_PYTHON_TENANT_HPP

#include <cogniware/tenant.hpp>

#include <memory>
#include <string>

namespace cogniware_python {

// A handle of its own to a tenant: the tenant's memory stays mapped while it lives, also after the tenant was closed.
class Hold {
public:
    explicit Hold(const std::string& id) { cogniware::detail::check(cw_tenant_find(id.c_str(), &tenant_)); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { static_cast<void>(cw_tenant_free(tenant_)); }

    cw_tenant* get() const noexcept { return tenant_; }

private:
    cw_tenant* tenant_ = nullptr;
};

struct PyTenant {
    PyTenant(const std::string& name, const cogniware::TenantOptions& options)
        : id(name), tenant(name, options), hold(std::make_shared<Hold>(name)) {}

    std::string id;
    cogniware::Tenant tenant;
    std::shared_ptr<Hold> hold;
};

}  // namespace cogniware_python

#endif
