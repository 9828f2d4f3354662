// nvdiffrast's texture lookup and its gradient as XLA handlers.

#include "texture.h"

#include "launch.h"

using TextureKernel = void (*)(TextureKernelParams);

// Each mode has a forward kernel for channel counts divisible by 1, 2 and 4.
#define DECLARE(mode)                                        \
  void TextureFwdKernel##mode##1(const TextureKernelParams); \
  void TextureFwdKernel##mode##2(const TextureKernelParams); \
  void TextureFwdKernel##mode##4(const TextureKernelParams); \
  void TextureGradKernel##mode(const TextureKernelParams);
#define MODE(mode)                                                                    \
  {{TextureFwdKernel##mode##1, TextureFwdKernel##mode##2, TextureFwdKernel##mode##4}, \
   TextureGradKernel##mode}
DECLARE(Nearest)
DECLARE(Linear)
DECLARE(LinearMipmapNearest)
DECLARE(LinearMipmapLinear)
DECLARE(LinearMipmapNearestBO)
DECLARE(LinearMipmapLinearBO)
DECLARE(CubeNearest)
DECLARE(CubeLinear)
DECLARE(CubeLinearMipmapNearest)
DECLARE(CubeLinearMipmapLinear)
DECLARE(CubeLinearMipmapNearestBO)
DECLARE(CubeLinearMipmapLinearBO)
void MipBuildKernel1(const TextureKernelParams);
void MipBuildKernel2(const TextureKernelParams);
void MipBuildKernel4(const TextureKernelParams);
void MipGradKernel1(const TextureKernelParams);
void MipGradKernel2(const TextureKernelParams);
void MipGradKernel4(const TextureKernelParams);

namespace affjax_nvdiffrast {
namespace {

struct Mode {
  TextureKernel forward[3];
  TextureKernel backward;
};

// By whether the texture is a cube, whether the mip level comes from the bias only
// (which needs a mip map), and filter.
const Mode kModes[2][2][TEX_MODE_COUNT] = {
    {{MODE(Nearest), MODE(Linear), MODE(LinearMipmapNearest), MODE(LinearMipmapLinear)},
     {{}, {}, MODE(LinearMipmapNearestBO), MODE(LinearMipmapLinearBO)}},
    {{MODE(CubeNearest), MODE(CubeLinear), MODE(CubeLinearMipmapNearest),
      MODE(CubeLinearMipmapLinear)},
     {{}, {}, MODE(CubeLinearMipmapNearestBO), MODE(CubeLinearMipmapLinearBO)}}};
const TextureKernel kMipBuild[3] = {MipBuildKernel1, MipBuildKernel2, MipBuildKernel4};
const TextureKernel kMipGrad[3] = {MipGradKernel1, MipGradKernel2, MipGradKernel4};

// Place in a table of kernels for channel counts divisible by 1, 2, 4.
int vector_width(const TextureKernelParams& params) {
  return params.channels % 4 == 0 ? 2 : params.channels % 2 == 0 ? 1 : 0;
}

bool is_cube(const TextureKernelParams& params) {
  return params.boundaryMode == TEX_BOUNDARY_MODE_CUBE;
}

int images_of(const TextureKernelParams& params) {
  return params.texDepth * (is_cube(params) ? 6 : 1);
}

const Mode& mode_of(const TextureKernelParams& params) {
  bool bias_only = params.enableMip && !params.uvDA;
  return kModes[is_cube(params)][bias_only][params.filterMode];
}

// `slopes` and `bias` are empty where they do not decide on the mip level.
TextureKernelParams describe(const Floats& tex, const Floats& uv, const Floats& slopes,
                             const Floats& bias, int64_t filter, int64_t boundary,
                             int64_t levels) {
  require(filter >= 0 && filter < TEX_MODE_COUNT, "unknown filter");
  require(levels >= 0 && levels < TEX_MAX_MIP_LEVEL, "too many mip levels");
  auto texels = tex.dimensions(), picture = uv.dimensions();
  TextureKernelParams params = {};
  params.filterMode = static_cast<int>(filter);
  params.boundaryMode = static_cast<int>(boundary);
  params.enableMip = filter >= TEX_MODE_LINEAR_MIPMAP_NEAREST;
  params.mipLevelMax = static_cast<int>(levels);
  params.mipLevelLimit = params.mipLevelMax;
  int axis = is_cube(params) ? 2 : 1;
  params.texDepth = extent(texels, 0);
  params.texHeight = extent(texels, axis);
  params.texWidth = extent(texels, axis + 1);
  params.channels = extent(texels, axis + 2);
  params.n = extent(picture, 0);
  params.imgHeight = extent(picture, 1);
  params.imgWidth = extent(picture, 2);
  params.tex[0] = tex.typed_data();
  params.uv = uv.typed_data();
  params.uvDA = optional(slopes);
  params.mipLevelBias = optional(bias);
  return params;
}

// Points to the levels 1, 2, .. of a pyramid that lie one after the other.
template <typename Pointer>
void place_levels(const TextureKernelParams& params, FloatsOut& pyramid,
                  Pointer* levels) {
  float* next = optional(pyramid);
  for (int level = 1; level <= params.mipLevelMax; ++level) {
    levels[level] = next;
    int2 size = mipLevelSize(params, level);
    next += int64_t{size.x} * size.y * params.channels * images_of(params);
  }
  require(next == optional(pyramid) + pyramid->element_count(),
          "the pyramid has another size");
}

void build_pyramid(TextureKernelParams params, cudaStream_t stream) {
  for (int level = 1; level <= params.mipLevelMax; ++level) {
    int2 size = mipLevelSize(params, level);
    params.mipLevelOut = level;
    launch_per_pixel(kMipBuild[vector_width(params)], size.x, size.y, images_of(params),
                     params, stream);
  }
}

// Adds the gradients of all levels to that of the texture.
void collapse_pyramid(const TextureKernelParams& params, cudaStream_t stream) {
  // Each thread keeps a texel in shared memory, of which 48 KiB need no asking.
  auto bytes = [&](dim3 block) {
    return size_t{block.x} * block.y * params.channels * sizeof(float);
  };
  dim3 block(kSide, kSide);
  while (bytes(block) > 48 * 1024 && block.y > 1) block.y /= 2;
  while (bytes(block) > 48 * 1024 && block.x > 1) block.x /= 2;
  launch(kMipGrad[vector_width(params)],
         blocks(params.texWidth, params.texHeight, images_of(params), block), block,
         params, stream, bytes(block));
}

ffi::Error texture_forward(cudaStream_t stream, Floats tex, Floats uv, Floats slopes,
                           Floats bias, FloatsOut value, FloatsOut pyramid,
                           int64_t filter, int64_t boundary, int64_t levels) {
  return guarded([&] {
    auto params = describe(tex, uv, slopes, bias, filter, boundary, levels);
    params.out = value->typed_data();
    place_levels(params, pyramid, params.tex);
    build_pyramid(params, stream);
    launch_per_pixel(mode_of(params).forward[vector_width(params)], params.imgWidth,
                     params.imgHeight, params.n, params, stream);
  });
}

ffi::Error texture_backward(cudaStream_t stream, Floats tex, Floats uv, Floats slopes,
                            Floats bias, Floats value_grad, FloatsOut tex_grad,
                            FloatsOut uv_grad, FloatsOut slopes_grad,
                            FloatsOut bias_grad, FloatsOut pyramid,
                            FloatsOut pyramid_grad, int64_t filter, int64_t boundary,
                            int64_t levels) {
  return guarded([&] {
    // Their kernels add to the texture's gradients, and write those of the rest only
    // where the filter has any.
    for (FloatsOut* out :
         {&tex_grad, &uv_grad, &slopes_grad, &bias_grad, &pyramid_grad})
      clear(*out, stream);
    auto params = describe(tex, uv, slopes, bias, filter, boundary, levels);
    params.dy = value_grad.typed_data();
    params.gradTex[0] = tex_grad->typed_data();
    params.gradUV = uv_grad->typed_data();
    params.gradUVDA = optional(slopes_grad);
    params.gradMipLevelBias = optional(bias_grad);
    place_levels(params, pyramid, params.tex);
    place_levels(params, pyramid_grad, params.gradTex);
    build_pyramid(params, stream);
    launch_per_pixel(mode_of(params).backward, params.imgWidth, params.imgHeight,
                     params.n, params, stream);
    if (params.enableMip) collapse_pyramid(params, stream);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_texture_forward, texture_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Attr<int64_t>("filter")
                                  .Attr<int64_t>("boundary")
                                  .Attr<int64_t>("levels"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_texture_backward, texture_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Attr<int64_t>("filter")
                                  .Attr<int64_t>("boundary")
                                  .Attr<int64_t>("levels"));

}  // namespace affjax_nvdiffrast
